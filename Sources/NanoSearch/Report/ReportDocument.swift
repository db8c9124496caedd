import NanoFlow

/// A report as Markdown, and as one HTML page that needs nothing else.
package struct ReportDocument: Sendable {
    /// A part of the report.
    package enum Block: Sendable {
        case heading(String)
        case paragraph(String)
        /// The first column is text, the others are aligned to the right.
        case table([String], rows: [[String]])
        /// Lines of one width.
        case preformatted(String)
        /// SVG; the page has it, and the Markdown its caption only.
        case figure(String, caption: String)
    }

    package let title: String
    package var blocks: [Block] = []

    package init(title: String) { self.title = title }

    // MARK: - Markdown

    package var markdown: String {
        let parts = blocks.map { block -> String in
            switch block {
            case .heading(let text): "## \(text)"
            case .paragraph(let text): text
            case .table(let head, let rows):
                ([head, head.indices.map { $0 == 0 ? "---" : "--:" }] + rows).map {
                    "| " + $0.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |"
                }.joined(separator: "\n")
            case .preformatted(let text):
                text.split(separator: "\n").map { "    \($0)" }.joined(separator: "\n")
            case .figure(_, let caption): "*\(caption)* (drawn in the HTML page)"
            }
        }
        return (["# \(title)"] + parts).joined(separator: "\n\n") + "\n"
    }

    // MARK: - HTML

    package var html: String {
        let parts = blocks.map { block -> String in
            switch block {
            case .heading(let text): "<h2>\(escaped(text))</h2>"
            case .paragraph(let text): "<p>\(escaped(text))</p>"
            case .table(let head, let rows): Self.table(head, rows)
            case .preformatted(let text): "<pre>\(escaped(text))</pre>"
            case .figure(let svg, let caption):
                "<figure>\(svg)<figcaption>\(escaped(caption))</figcaption></figure>"
            }
        }
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width">
            <title>\(escaped(title))</title>
            <style>\(Self.style)</style>
            </head>
            <body>
            <h1>\(escaped(title))</h1>
            \(parts.joined(separator: "\n"))
            </body>
            </html>

            """
    }

    private static func table(_ head: [String], _ rows: [[String]]) -> String {
        let cells = { (row: [String], tag: String) in
            row.map { "<\(tag)>\(escaped($0))</\(tag)>" }.joined()
        }
        let body = rows.map { "<tr>\(cells($0, "td"))</tr>" }.joined(separator: "\n")
        return """
            <div class="wide"><table>
            <thead><tr>\(cells(head, "th"))</tr></thead>
            <tbody>
            \(body)
            </tbody>
            </table></div>
            """
    }

    /// Figures stay on white paper in the dark, too: they carry their own colours.
    private static let style = """
        :root { color-scheme: light dark; --line: #d0d0d0; --quiet: #666666; }
        @media (prefers-color-scheme: dark) { :root { --line: #444444; --quiet: #a0a0a0; } }
        body { font: 16px/1.5 system-ui, sans-serif; max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
        h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
        p { max-width: 75ch; }
        .wide { overflow-x: auto; }
        table { border-collapse: collapse; font-size: 0.9rem; }
        th, td { text-align: right; padding: 0.25rem 0.75rem; border-bottom: 1px solid var(--line);
          font-variant-numeric: tabular-nums; white-space: nowrap; }
        th:first-child, td:first-child { text-align: left; }
        pre { overflow-x: auto; }
        figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; background: #ffffff; }
        figcaption { color: var(--quiet); font-size: 0.9rem; }
        """
}
