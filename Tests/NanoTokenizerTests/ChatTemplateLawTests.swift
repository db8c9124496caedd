import NanoTokenizer
import Testing

@Suite struct ChatTemplateLawTests {
    private func failure(
        of source: String, _ variables: [String: TemplateValue] = [:]
    ) -> ChatTemplateError? {
        do throws(ChatTemplateError) {
            _ = try ChatTemplate(source).render(variables)
            return nil
        } catch { return error }
    }

    @Test func errorsNameTheLineOfTheStatement() {
        let broken: [(String, ChatTemplateError.Kind, Int)] = [
            ("a\nb\n{{ 1 + }}", .syntax, 3),
            ("a\r\nb\r{% if %}", .syntax, 3),
            ("{#\n\n#}\n{{ nope.x }}", .evaluation, 4),
            (
                "{% raw %}\n\n{% endraw %}\n{% for m in [1] %}\n{{ m.x.y }}{% endfor %}",
                .evaluation, 5
            ),
            ("{% macro m() %}\n{{ nope.x }}\n{% endmacro %}\n\n{{ m() }}", .evaluation, 2),
            ("{% macro m() %}\n\n{% endmacro %}\n{{ m() ~ nope.x }}", .evaluation, 4),
            ("\n{{ raise_exception('no') }}", .raised, 2),
            ("\n\n{% if 1 %}", .syntax, 3),
        ]
        for (source, kind, line) in broken {
            let error = failure(of: source)
            #expect(error?.kind == kind, "\(source)")
            #expect(error?.line == line, "\(source)")
        }
    }

    @Test func errorsAreSentences() {
        #expect(
            failure(of: "{{ messages[0].role }}")?.description
                == "Chat template, line 1: 'messages' is undefined.")
        #expect(
            failure(of: "\n{{ m.role.name }}", ["m": ["content": "x"]])?.description
                == "Chat template, line 2: 'dict' has no attribute 'role'.")
        #expect(
            failure(of: "{{ raise_exception('Roles must alternate.') }}")?.description
                == "Roles must alternate.")
        #expect(
            failure(of: "{% for x in y %}")?.description
                == "Chat template, line 1: The template ends before 'endfor' or 'else'.")
    }

    @Test func tagsThatReachOtherTemplatesAreRefused() {
        for source in ["{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}"] {
            #expect(failure(of: source)?.kind == .syntax)
        }
    }

    @Test func oneTemplateRendersManyTimesAlike() throws {
        let template = try ChatTemplate(
            "{% set ns = namespace(n=1) %}{% set ns.n = ns.n + x %}{{ ns.n }}{{ y }}")
        #expect(try template.render(["x": 1]) == "2")
        #expect(try template.render(["x": 41, "y": "!"]) == "42!")
        #expect(try template.render(["x": 1]) == "2")
    }

    @Test func variablesKeepTheirTypesAndOrder() throws {
        let value: TemplateValue = ["b": 1, "a": [1.5, true, .none], "b": "last", "c": .undefined]
        let template = try ChatTemplate("{{ v }} {{ v.c is defined }} {{ w is defined }}")
        #expect(
            try template.render(["v": value, "w": .undefined])
                == "{'b': 'last', 'a': [1.5, True, None], 'c': Undefined} False False")
    }

    @Test func variablesHideFunctionsOfTheSameName() throws {
        let template = try ChatTemplate("{{ range }}{{ dict(a=1).a }}")
        #expect(try template.render(["range": "mine"]) == "mine1")
    }

    @Test func textsAreComparedByScalars() throws {
        let template = try ChatTemplate("{{ a == b }} {{ {a: 1, b: 2} | length }} {{ a | length }}")
        #expect(try template.render(["a": "e\u{301}", "b": "\u{e9}"]) == "False 2 2")
        let lines = try ChatTemplate("{{ a.split('\\n') }}{{ a | length }}")
        #expect(try lines.render(["a": "x\r\ny"]) == "['x\\r', 'y']4")
    }

    @Test func theClockIsTheOneGiven() throws {
        let template = try ChatTemplate("{{ strftime_now('%d %b %Y, %A, day %j') }}")
        let leap = TemplateDate(year: 2000, month: 2, day: 29)
        #expect(try template.render([:]) { leap } == "29 Feb 2000, Tuesday, day 060")
        let last = TemplateDate(year: 1999, month: 12, day: 31)
        #expect(try template.render([:]) { last } == "31 Dec 1999, Friday, day 365")
        #expect(try ChatTemplate("{{ strftime_now('%Y') | int > 2000 }}").render([:]) == "True")
    }

    @Test func theVariableOfALoopEndsWithIt() {
        let source = "{% set ns = namespace() %}{% for x in [1] %}{% set ns.l = loop %}{% endfor %}"
        #expect(failure(of: source + "{{ ns.l.index }}")?.kind == .evaluation)
        #expect(failure(of: source) == nil)
    }
}
