import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NanoFlow
import NanoServer
import Testing

@Suite struct RouteTests {
    @Test func healthAndModelsAnswer() async throws {
        try await TestModel.serve { client in
            try await client.execute(uri: "/health", method: .get) { response in
                #expect(response.status == .ok)
                #expect(String(buffer: response.body) == #"{"status":"ok"}"#)
            }
            let list = try await client.execute(uri: "/v1/models", method: .get)
            let models = try JSONValue(parsing: String(buffer: list.body))
            #expect(models["object"].string == "list")
            #expect(models["data"].list.map { $0["id"].string } == ["tiny"])
            #expect(models["data"][0]["max_model_len"].number == Double(TestModel.contextLength))
            let one = try await client.execute(uri: "/v1/models/tiny", method: .get)
            let model = try JSONValue(parsing: String(buffer: one.body))
            #expect(model["id"].string == "tiny")
            #expect(model["object"].string == "model")
        }
    }

    @Test func metricsAreCountedAndTyped() async throws {
        let llm = try await TestModel.open()
        try await TestModel.serve(llm, .router) { client in
            func value(_ name: String) async throws -> Double? {
                let response = try await client.execute(uri: "/metrics", method: .get)
                #expect(response.headers[.contentType]?.hasPrefix("text/plain") == true)
                let lines = String(buffer: response.body).split(separator: "\n")
                #expect(lines.contains { $0.hasPrefix("# TYPE \(name) ") })
                let line = lines.first { $0.hasPrefix("\(name){") }
                #expect(line?.contains(#"{engine="0",model_name="tiny"} "#) == true)
                return line?.split(separator: " ").last.flatMap { Double($0) }
            }
            #expect(try await value("vllm:prompt_tokens_total") == 0)
            _ = try await client.answer(
                "/v1/completions", #"{"prompt":[5,6,7],"max_tokens":4,"ignore_eos":true}"#)
            #expect(try await value("vllm:prompt_tokens_total") == 3)
            #expect(try await value("vllm:generation_tokens_total") == 4)
            #expect(try await value("nanoflow:forecast_predicted_tokens_total") == 4)
            #expect(try await value("nanoflow:forecast_actual_tokens_total") == 4)
            #expect(try await value("nanoflow:kv_blocks_predicted_peak") == 1)
            #expect(try await value("nanoflow:kv_blocks_used_peak") == 1)
            #expect(try await value("vllm:num_requests_running") == 0)
            #expect((try await value("nanoflow:memory_bound_bytes") ?? 0) > 1e8)
        }
        await llm.shutdown()
    }

    @Test func metricsHaveVLLMsNamesAndBuckets() async throws {
        let llm = try await TestModel.open()
        try await TestModel.serve(llm, .router) { client in
            _ = try await client.answer(
                "/v1/completions", #"{"prompt":[5,6,7],"max_tokens":4,"ignore_eos":true,"n":2}"#)
            _ = try await client.post("/v1/completions", "{}")
            let response = try await client.execute(uri: "/metrics", method: .get)
            let text = String(buffer: response.body)
            let labels = #"engine="0",model_name="tiny""#
            for line in [
                #"vllm:request_success_total{\#(labels),finished_reason="length"} 2"#,
                #"vllm:request_success_total{\#(labels),finished_reason="stop"} 0"#,
                "vllm:time_to_first_token_seconds_count{\(labels)} 2",
                "vllm:inter_token_latency_seconds_count{\(labels)} 6",
                "vllm:e2e_request_latency_seconds_count{\(labels)} 2",
                #"vllm:request_generation_tokens_bucket{\#(labels),le="2.0"} 0"#,
                #"vllm:request_generation_tokens_bucket{\#(labels),le="5.0"} 2"#,
                #"vllm:request_generation_tokens_bucket{\#(labels),le="500.0"} 2"#,
                #"vllm:request_generation_tokens_bucket{\#(labels),le="+Inf"} 2"#,
                #"vllm:request_params_n_bucket{\#(labels),le="1.0"} 0"#,
                #"vllm:request_params_n_bucket{\#(labels),le="2.0"} 1"#,
                #"nanoflow:requests_rejected_total{\#(labels),reason="invalid_value"} 1"#,
                #"nanoflow:requests_rejected_total{\#(labels),reason="queue_full"} 0"#,
                #"vllm:time_to_first_token_seconds_bucket{\#(labels),le="2560.0"} 2"#,
            ] {
                #expect(text.contains(line + "\n"), "\(line)")
            }
            // Each family is declared once, before its samples.
            let families = text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }
            #expect(Set(families).count == families.count)
        }
        await llm.shutdown()
    }

    @Test func labelsAreEscaped() async throws {
        let generator = ScriptedGenerator { AsyncThrowingStream { $0.finish() } }
        let server = NanoServer(
            generator: generator,
            configuration: ServerConfiguration(servedModelName: "a\"b\\c\nd"))
        try await server.application().test(.router) { client in
            let response = try await client.execute(uri: "/metrics", method: .get)
            #expect(String(buffer: response.body).contains(#"model_name="a\"b\\c\nd""#))
        }
    }

    @Test func thePageAsksNobodyElse() async throws {
        try await TestModel.serve { client in
            let response = try await client.execute(uri: "/", method: .get)
            #expect(response.status == .ok)
            #expect(response.headers[.contentType] == "text/html; charset=utf-8")
            #expect(
                response.headers[.contentSecurityPolicy]?.contains("default-src 'none'") == true)
            // The name of SVG's elements is no address.
            let page = String(buffer: response.body)
                .replacing("http://www.w3.org/2000/svg", with: "")
            #expect(page.contains("<title>"))
            #expect(!page.contains("http://") && !page.contains("https://"))
        }
    }

    @Test func theEngineAndItsTimelineCanBeSeen() async throws {
        try await TestModel.serve { client in
            _ = try await client.answer(
                "/v1/completions", #"{"prompt":[5,6,7],"max_tokens":4,"ignore_eos":true}"#)
            let view = try await client.execute(uri: "/nanoflow/engine", method: .get)
            let engine = try JSONValue(parsing: String(buffer: view.body))
            #expect(engine["model"].string == "tiny")
            #expect((engine["tokens"]["generated"].number ?? 0) >= 4)
            #expect(engine["kv_blocks"]["block_size"].number == 64)
            #expect(engine["optimal_ratio"] == .null)
            let recent = try await client.execute(uri: "/nanoflow/timeline?steps=1", method: .get)
            let timeline = try JSONValue(parsing: String(buffer: recent.body))
            #expect(timeline["units"].number == 1)
            #expect(timeline["steps"].list.count == 1)
            #expect(timeline["events"].list.contains { $0["operation"].string == "lmHead" })
            let refused = try await client.execute(uri: "/nanoflow/timeline?steps=99", method: .get)
            #expect(refused.status == .badRequest)
        }
    }

    @Test func aModelNameWithASlashIsFoundEscapedOrNot() async throws {
        let generator = ScriptedGenerator { AsyncThrowingStream { $0.finish() } }
        let server = NanoServer(
            generator: generator, configuration: ServerConfiguration(servedModelName: "org/tiny"))
        try await server.application().test(.router) { client in
            for path in ["/v1/models/org/tiny", "/v1/models/org%2Ftiny"] {
                try await client.execute(uri: path, method: .get) { #expect($0.status == .ok) }
            }
        }
    }

    @Test(arguments: ["/v1", "/v1/completion", "/v1/completions/x", "/../etc/passwd"])
    func anUnknownPathIs404(path: String) async throws {
        try await TestModel.serve { client in
            let response = try await client.execute(uri: path, method: .get)
            #expect(response.status == .notFound)
            let error = try JSONValue(parsing: String(buffer: response.body))["error"]
            #expect(error["type"].string == "NotFoundError")
            #expect(error.keys == ["message", "type", "param", "code"])
        }
    }

    @Test(arguments: [
        ("/health", "POST", "GET, HEAD"), ("/v1/models", "DELETE", "GET, HEAD"),
        ("/v1/models/tiny", "PUT", "GET, HEAD"), ("/v1/completions", "GET", "POST"),
        ("/v1/chat/completions", "BREW", "POST"),
    ])
    func aKnownPathWithAnotherMethodIs405(
        path: String, method: String, allowed: String
    )
        async throws
    {
        try await TestModel.serve { client in
            let method = try #require(HTTPRequest.Method(rawValue: method))
            let response = try await client.execute(uri: path, method: method)
            #expect(response.status == .methodNotAllowed)
            #expect(response.headers[.allow] == allowed)
        }
    }

    @Test func aRequestKeepsItsIDAndGetsOneWhereItHasNone() async throws {
        try await TestModel.serve { client in
            let field = try #require(HTTPField.Name("X-Request-Id"))
            let given = try await client.execute(
                uri: "/health", method: .get, headers: [field: "abc-1"])
            #expect(given.headers[field] == "abc-1")
            let fresh = try await client.execute(uri: "/health", method: .get)
            #expect(fresh.headers[field]?.isEmpty == false)
            let tooLong = try await client.execute(
                uri: "/nowhere", method: .get,
                headers: [field: String(repeating: "x", count: 129)])
            #expect(tooLong.headers[field]?.count == 36)
        }
    }
}
