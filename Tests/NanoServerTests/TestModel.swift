import Foundation
import Hummingbird
import HummingbirdTesting
import Logging
import NanoFlow
import NanoServer
import NanoTestSupport
import Testing

/// The tiny model of the fixtures: 288 tokens, a context of 512, random weights.
enum TestModel {
    static let contextLength = 512
    static let vocabularyCount = 288

    private static let shared = Task { try await open() }

    /// A model of its own, for tests that count what runs.
    static func open() async throws -> LLM {
        try await LLM(
            model: Fixture.engine("tiny-llama.gguf").path,
            configuration: EngineConfiguration(
                precision: .f32, threadCount: 1, kvCacheByteCount: 64 << 20))
    }

    /// Runs `body` with a client of a server that serves the shared model as "tiny".
    static func serve<Value: Sendable>(
        _ setup: TestingSetup = .router, configuration: ServerConfiguration? = nil,
        _ body: @Sendable (any TestClientProtocol) async throws -> Value
    ) async throws -> Value {
        try await serve(
            shared.value, setup, configuration: configuration ?? ServerConfiguration(), body)
    }

    /// Runs `body` with a client of a server in front of `generator`.
    static func serve<Value: Sendable>(
        _ generator: any TextGenerator, _ setup: TestingSetup,
        configuration: ServerConfiguration = ServerConfiguration(),
        _ body: @Sendable (any TestClientProtocol) async throws -> Value
    ) async throws -> Value {
        var configuration = configuration
        configuration.servedModelName = "tiny"
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let server = NanoServer(
            generator: generator, configuration: configuration, logger: logger)
        return try await server.application().test(setup, body)
    }
}

/// A generator whose streams the test writes.
struct ScriptedGenerator: TextGenerator {
    let modelName = "scripted"
    let maxModelLength = 1000
    let vocabularyCount = 256
    let observedEngine: Engine? = nil
    var secondsWithoutProgress = 0.0
    /// Called before a text becomes tokens.
    var willTokenize: @Sendable () -> Void = {}
    let script: @Sendable () throws -> AsyncThrowingStream<GenerationEvent, any Error>

    func tokens(of prompt: Prompt) throws -> [Int] {
        [1, 2, 3]
    }

    func uncheckedTokens(of prompt: Prompt, addsSpecialTokens: Bool) throws -> [Int] {
        willTokenize()
        return [1, 2, 3]
    }

    func bytes(of token: Int) -> [UInt8] {
        [UInt8(token)]
    }

    func spelling(of token: Int) -> [UInt8] {
        [UInt8(token)]
    }

    func streams(
        _ choices: [(prompt: [Int], sampling: SamplingParameters)], cacheSalt: String?,
        priority: Int, tenant: Int?
    ) throws -> [AsyncThrowingStream<GenerationEvent, any Error>] {
        try choices.map { _ in try script() }
    }
}

extension GenerationEvent {
    static func letter(_ letter: Unicode.Scalar) -> GenerationEvent {
        let byte = UInt8(ascii: letter)
        let token = GeneratedToken(id: Int(byte), bytes: [byte], logprob: nil, alternatives: [])
        return .token(token, text: String(Character(letter)))
    }

    static let end = finished(
        CompletionEnd(
            reason: .stop, text: "", usage: TokenUsage(promptTokens: 3, completionTokens: 2)))
}
