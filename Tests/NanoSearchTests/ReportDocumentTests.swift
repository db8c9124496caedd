import NanoSearch
import Testing

/// Reports as Markdown and as a page.
@Suite struct ReportDocumentTests {
    static let document: ReportDocument = {
        var document = ReportDocument(title: "A < B & C")
        document.blocks = [
            .heading("What"), .paragraph("x < y"),
            .table(["plan", "ms"], rows: [["a|b", "1"], ["c", "2"]]),
            .preformatted("one\ntwo"), .figure("<svg></svg>", caption: "drawn"),
        ]
        return document
    }()

    @Test func markdownHasEveryBlock() {
        #expect(
            Self.document.markdown == """
                # A < B & C

                ## What

                x < y

                | plan | ms |
                | --- | --: |
                | a\\|b | 1 |
                | c | 2 |

                    one
                    two

                *drawn* (drawn in the HTML page)

                """)
    }

    @Test func thePageNeedsNothingElse() {
        let html = Self.document.html
        for part in [
            "<title>A &lt; B &amp; C</title>", "<h2>What</h2>", "<p>x &lt; y</p>",
            "<td>a|b</td><td>1</td>", "<pre>one\ntwo</pre>",
            "<figure><svg></svg><figcaption>drawn</figcaption></figure>",
        ] {
            #expect(html.contains(part), "\(part)")
        }
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            #expect(!html.contains(outside), "\(outside)")
        }
    }
}
