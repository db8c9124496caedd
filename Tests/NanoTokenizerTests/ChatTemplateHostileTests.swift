import Foundation
import NanoTestSupport
import NanoTokenizer
import Synchronization
import Testing

/// Runs work on a thread with the smallest stack that any platform of ours gives one.
///
/// A debug build has more of it: it would do with 512 KiB too, but not under a sanitizer.
private func withSmallStack<Result: Sendable>(_ work: @escaping @Sendable () -> Result) -> Result? {
    let result = Mutex<Result?>(nil)
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
        let value = work()
        result.withLock { $0 = value }
        done.signal()
    }
    thread.stackSize = _isDebugAssertConfiguration() ? 4 << 20 : 512 << 10
    thread.start()
    done.wait()
    return result.withLock { $0 }
}

private func nested(_ open: String, _ inside: String, _ close: String, _ count: Int) -> String {
    String(repeating: open, count: count) + inside + String(repeating: close, count: count)
}

/// Templates that want more time, memory or stack than there is; each must meet a limit.
private let greedy: [(name: String, source: String)] = [
    (
        "nested loops",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ),
    ("loops without bodies", nested("{% for a in range(9999) %}", "", "{% endfor %}", 20)),
    ("long repetition", "{{ 'x' * 10 ** 9 }}"),
    ("longest repetition", "{{ 'xy' * 9223372036854775807 }}"),
    ("long list", "{{ [1, 2] * 10 ** 12 }}"),
    ("repeated list", "{{ ([''] * 1000000 * 1000) | length }}"),
    (
        "doubling",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
            + "{% endfor %}"
    ),
    (
        "doubling lists",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
            + "{% endfor %}"
    ),
    (
        "shared lists printed",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}"
            + "{% endfor %}{{ ns.s }}"
    ),
    (
        "shared lists compared",
        "{% set a = namespace(s=[1]) %}{% set b = namespace(s=[1]) %}{% for i in range(60) %}"
            + "{% set a.s = [a.s, a.s] %}{% set b.s = [b.s, b.s] %}{% endfor %}{{ a.s == b.s }}"
    ),
    (
        "shared tuples as a key",
        "{% set a = namespace(s=(1, 2)) %}{% for i in range(60) %}{% set a.s = (a.s, a.s) %}"
            + "{% endfor %}{{ {a.s: 1} }}"
    ),
    (
        "shared lists as JSON",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}"
            + "{% endfor %}{{ ns.s | tojson }}"
    ),
    ("endless macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
    ("endless default", "{% macro m(a=m()) %}{% endmacro %}{{ m() }}"),
    (
        "endless call block",
        "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}"
    ),
    ("endless loop", "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}"),
    (
        "wide recursion",
        "{% macro m(n) %}{% for i in range(99) %}{{ m(n) }}{% endfor %}{% endmacro %}{{ m(1) }}"
    ),
    (
        "deep value",
        "{% set ns = namespace(x=1) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}"
    ),
    (
        "deep dictionary",
        "{% set ns = namespace(x=1) %}{% for i in range(9999) %}{% set ns.x = {'k': ns.x} %}"
            + "{% endfor %}"
    ),
    (
        "deep generator",
        "{% set ns = namespace(x=1) %}{% for i in range(9999) %}"
            + "{% set ns.x = [[ns.x]] | reverse %}{% endfor %}"
    ),
    (
        "deep method",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}"
            + "{% set ns.x = [ns.x].index %}{% endfor %}"
    ),
    ("namespace in itself", "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}"),
    ("deep parentheses", "{{ " + nested("(", "1", ")", 20_000) + " }}"),
    ("deep lists", "{{ " + nested("[", "1", "]", 20_000) + " }}"),
    ("deep dictionaries", "{{ " + nested("{1:", "1", "}", 20_000) + " }}"),
    ("deep calls", "{{ " + nested("f(", "1", ")", 20_000) + " }}"),
    ("deep subscripts", "{{ " + nested("a[", "1", "]", 20_000) + " }}"),
    ("deep minus", "{{ " + String(repeating: "-", count: 20_000) + "1 }}"),
    ("deep not", "{{ " + String(repeating: "not ", count: 20_000) + "1 }}"),
    ("deep else", "{{ " + String(repeating: "1 if 0 else ", count: 20_000) + "1 }}"),
    ("deep tests", "{{ 1 " + String(repeating: "is eq (1 ", count: 9_000)),
    ("deep if", nested("{% if 1 %}", "", "{% endif %}", 20_000)),
    ("deep set", nested("{% set x %}", "", "{% endset %}", 9_000)),
    ("deep macro", nested("{% macro m() %}", "", "{% endmacro %}", 9_000)),
    ("deep target", "{% for " + nested("(", "a", ")", 20_000) + " in x %}{% endfor %}"),
    ("wide padding", "{{ 'a'.center(10 ** 15) }}"),
    ("wide format", "{{ '%1000000000000d' % 1 }}"),
    ("wide field", "{{ '{:>1000000000000}'.format(1) }}"),
    ("wide indent", "{{ 'a\\nb' | indent(10 ** 12) }}"),
    ("wide JSON", "{{ [1] | tojson(indent=10 ** 12) }}"),
    ("wide batch", "{{ [1] | batch(10 ** 12, 0) | list }}"),
    ("wide slice", "{{ [1] | slice(10 ** 12, 0) | list }}"),
    ("wide tabs", "{{ '\\t\\t'.expandtabs(10 ** 12) }}"),
    ("long replacement", "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}"),
    ("long join", "{{ ('b' * 1000000).join('a' * 100000) }}"),
    ("slow search", "{{ ('a' * 8000000 ~ 'b').count('a' * 4000000 ~ 'c') }}"),
    ("slow partition", "{{ ('b' ~ 'a' * 8000000).rpartition('c' ~ 'a' * 4000000) }}"),
    (
        "many namespaces",
        "{% for i in range(9999) %}{% for j in range(99) %}{% set x = namespace(a=1) %}"
            + "{% endfor %}{% endfor %}"
    ),
    (
        "quadratic indexing",
        "{% set s = 'é' * 1000000 %}{% for i in range(99999) %}{{ s[999999] }}{% endfor %}"
    ),
    ("long source", String(repeating: "a", count: 1 << 20)),
]

@Suite struct ChatTemplateHostileTests {
    @Test func greedyTemplatesMeetALimitOnASmallStack() throws {
        let limits = ChatTemplateLimits(maxSteps: 200_000)
        let outcomes = withSmallStack {
            greedy.map { TemplateOutcome($0.source, [:], limits: limits) }
        }
        for (template, outcome) in zip(greedy, try #require(outcomes)) {
            #expect(outcome == .error("limit"), "\(template.name)")
        }
    }

    @Test func longChainsNeedNoStack() throws {
        func chain(_ first: String, _ link: String, _ last: String) -> String {
            first + String(repeating: link, count: 9_000) + last
        }
        let chains = [
            (chain("{{ 1", " + 1", " }}"), "9001"),
            (chain("{{ 1", " ~ 1 and 1 or 1 * 1", " }}"), "1"),
            (chain("{{ 'a'", "|upper", " }}"), "A"),
            (chain("{{ 0", " < 1 > 0", " }}"), "True"),
            (chain("{% if 0 %}", "{% elif 0 %}", "{% endif %}"), ""),
            (chain("{{ 1", " if 1", " }}"), "1"),
        ]
        let outcomes = withSmallStack { chains.map { TemplateOutcome($0.0, [:]) } }
        for (chain, outcome) in zip(chains, try #require(outcomes)) {
            #expect(outcome == .text(Array(chain.1.utf8)), "\(chain.0.prefix(40))")
        }
    }

    @Test func deepVariablesMeetALimit() {
        let outcome = withSmallStack {
            var value = TemplateValue.integer(1)
            for _ in 0..<100 { value = .list([value]) }
            return TemplateOutcome("{{ x }}", ["x": value])
        }
        #expect(outcome == .error("limit"))
    }

    @Test func numbersOutOfRangeAreErrors() {
        let sources = [
            "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}",
            "{{ 9223372036854775807 * 2 }}", "{{ 2 ** 64 }}", "{{ 10 ** 10 ** 10 }}",
            "{{ (-9223372036854775807 - 1) // -1 }}", "{{ -(-9223372036854775807 - 1) }}",
            "{{ (-9223372036854775807 - 1) | abs }}", "{{ 1e300 | int }}", "{{ '%d' % 1e300 }}",
            "{{ 1e308 ** 2 }}", "{{ range(-9223372036854775807, 9223372036854775807) }}",
            "{{ '%c' % 99999999 }}", "{{ 9223372036854775807 | round(-19) }}",
        ]
        for source in sources {
            #expect(TemplateOutcome(source, [:]) == .error("evaluation"), "\(source)")
        }
        #expect(TemplateOutcome("{{ 9223372036854775808 }}", [:]) == .error("syntax"))
        let harmless = [
            "{{ 'abc'[9223372036854775807] }}", "{{ 'abc'[-9223372036854775807 - 1] }}",
            "{{ 'a'[9223372036854775807:] }}", "{{ 'a'[:-9223372036854775807 - 1] }}",
            "{{ ''[::-9223372036854775807 - 1] }}", "{{ [][::9223372036854775807] | first }}",
            "{{ 'a'[5].b if 0 }}", "{{ ('' * 9223372036854775807) }}",
        ]
        for source in harmless { #expect(TemplateOutcome(source, [:]) == .text([]), "\(source)") }
    }

    @Test func limitsAreThoseGiven() throws {
        func kind(_ source: String, _ limits: ChatTemplateLimits) -> ChatTemplateError.Kind? {
            do throws(ChatTemplateError) {
                _ = try ChatTemplate(source, limits: limits).render([:])
                return nil
            } catch { return error.kind }
        }
        #expect(kind("12345", .init(maxSourceByteCount: 5)) == nil)
        #expect(kind("123456", .init(maxSourceByteCount: 5)) == .limit)
        #expect(kind("{{ 'abc' * 3 }}", .init(maxOutputByteCount: 9)) == nil)
        #expect(kind("{{ 'abc' * 3 }}a", .init(maxOutputByteCount: 9)) == .limit)
        #expect(kind("{% for i in range(50) %}{% endfor %}", .init(maxSteps: 1000)) == nil)
        #expect(kind("{% for i in range(900) %}{% endfor %}", .init(maxSteps: 1000)) == .limit)
        #expect(kind("{{ (((((1))))) }}", .init(maxDepth: 30)) == nil)
        #expect(kind("{{ (((((1))))) }}", .init(maxDepth: 8)) == .limit)
        #expect(kind("{{ [[1]] }}", .init(maxValueDepth: 2)) == nil)
        #expect(kind("{{ [[[1]]] }}", .init(maxValueDepth: 2)) == .limit)
    }

    @Test func thousandsOfMutantsEndInATextOrAnError() throws {
        let sources = try ChatTemplateGoldens.sources().sorted { $0.key < $1.key }.map(\.value)
        let goldens = try ChatTemplateGoldens.load()
        let conversations = goldens.conversations.sorted { $0.key < $1.key }.map(\.value.variables)
        let snippets = goldens.expressions.map(\.source)
        let seed: UInt64 = 20_240_726
        let counts = withSmallStack {
            var random = SeededGenerator(seed: seed)
            var counts: [String: Int] = [:]
            for _ in 0..<6000 {
                let source = mutant(of: sources, snippets, &random)
                let variables = conversations[Int(random.next() % UInt64(conversations.count))]
                switch TemplateOutcome(source, variables) {
                case .text: counts["text", default: 0] += 1
                case .raised: counts["raised", default: 0] += 1
                case .error(let kind): counts[kind, default: 0] += 1
                }
            }
            return counts
        }
        // The mutants reach every stage; mere syntax errors would test the parser alone.
        for kind in ["text", "raised", "syntax", "evaluation"] {
            let count = try #require(counts)[kind, default: 0]
            #expect(count > 50, "seed \(seed): \(counts ?? [:])")
        }
    }
}

private func mutant(
    of sources: [String], _ snippets: [String], _ random: inout SeededGenerator
) -> String {
    func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: 0..<elements.count, using: &random)]
    }
    let marks = [
        "{%", "%}", "{{", "}}", "{#", "#}", "-", "+", "(", ")", "[", "]", "|", ".", ",", "'", "\"",
        " if ", " else ", " for ", " in ", " not ", " is ", "0", "-1", "99", "none", "loop", "*",
        "messages", "\n", "~", "==", "\\", "é", "\u{2028}", "\0", "endfor", "endif", "set ", "**",
    ]
    var bytes = Array(pick(sources).utf8)
    for _ in 0..<Int.random(in: 1...3, using: &random) {
        let start = Int.random(in: 0..<bytes.count, using: &random)
        let end = min(bytes.count, start + Int.random(in: 0...6, using: &random))
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes.removeSubrange(start..<end)
        case 1: bytes.replaceSubrange(start..<end, with: pick(marks).utf8)
        case 2: bytes.insert(contentsOf: pick(snippets).utf8, at: start)
        case 3:
            let other = Array(pick(sources).utf8)
            let from = Int.random(in: 0..<other.count, using: &random)
            bytes.insert(contentsOf: other[from..<min(other.count, from + 40)], at: start)
        case 4: bytes[start] = UInt8.random(in: 0...255, using: &random)
        default: bytes.insert(contentsOf: pick(marks).utf8, at: start)
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}
