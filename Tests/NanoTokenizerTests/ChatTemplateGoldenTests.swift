import NanoTokenizer
import Testing

@Suite struct ChatTemplateGoldenTests {
    @Test func renderingsOfModelTemplatesEqualPython() throws {
        let goldens = try ChatTemplateGoldens.load()
        let sources = try ChatTemplateGoldens.sources()
        #expect(goldens.renderings.count == sources.count * goldens.conversations.count)
        for golden in goldens.renderings {
            let source = try #require(sources[golden.template])
            let variables = try #require(goldens.conversations[golden.conversation]).variables
            let expected = TemplateOutcome(
                text: golden.text, raised: golden.raised, error: golden.error)
            #expect(
                TemplateOutcome(source, variables) == expected,
                "\(golden.template) with \(golden.conversation)")
        }
    }

    @Test func smallTemplatesRenderAsInPython() throws {
        let goldens = try ChatTemplateGoldens.load()
        #expect(goldens.expressions.count > 300)
        for golden in goldens.expressions {
            let expected = TemplateOutcome(
                text: golden.text, raised: golden.raised, error: golden.error)
            let outcome = TemplateOutcome(golden.source, goldens.expressionVariables.variables)
            #expect(outcome == expected, "\(golden.source)")
        }
    }
}
