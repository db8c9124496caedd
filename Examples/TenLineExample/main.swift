import NanoFlow

let llm = try await LLM(model: CommandLine.arguments[1])
let question = ChatMessage(role: "user", content: "What is the capital of France?")
for try await event in try llm.stream(.chat([question]), sampling: .init(temperature: 0)) {
    if case .token(_, let text) = event { print(text, terminator: "") }
}
print()
await llm.shutdown()
