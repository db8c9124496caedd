import Foundation
import NanoClient
import Testing

#if canImport(FoundationXML)
import FoundationXML
#endif

/// A sweep's curve and its picture.
@Suite struct LatencyChartTests {
    private static func point(_ rate: Double, _ latencies: [Double]) -> LatencyCurve.Point {
        guard let latency = Distribution(latencies) else { preconditionFailure("No latency.") }
        return LatencyCurve.Point(rate: rate, latency: latency)
    }

    private static func curve(_ means: [(Double, Double)]) -> LatencyCurve {
        LatencyCurve(means.map { point($0, [$1]) })
    }

    @Test func theRateAtTheLimitLiesBetweenTwoLoads() {
        #expect(Self.curve([(4, 300), (1, 50), (2, 100)]).highestRate() == 3)
        #expect(Self.curve([(1, 50), (2, 200)]).highestRate() == nil)
        #expect(Self.curve([(1, 201), (2, 100)]).highestRate() == nil)
        #expect(Self.curve([]).highestRate() == nil)
        #expect(Self.curve([(1, 50), (3, 250)]).sentence.contains("at 2.50 requests/s"))
        #expect(Self.curve([(1, 50)]).sentence.contains("within 200 ms a token up to 1.00"))
        #expect(Self.curve([(1, 250)]).sentence.contains("at 1.00 requests/s already"))
    }

    private struct Element {
        let name: String
        let attributes: [String: String]
    }

    /// The elements of an XML text; it must be well-formed.
    private static func elements(_ xml: String) throws -> [Element] {
        final class Reader: NSObject, XMLParserDelegate {
            var elements: [Element] = []

            func parser(
                _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
                qualifiedName: String?, attributes: [String: String]
            ) {
                elements.append(Element(name: name, attributes: attributes))
            }
        }
        let parser = XMLParser(data: Data(xml.utf8))
        let reader = Reader()
        parser.delegate = reader
        try #require(parser.parse(), "\(parser.parserError as Any)")
        return reader.elements
    }

    @Test(arguments: [
        [], [point(0.5, [30, 40, 50])], [point(0.01, [1]), point(1000, [2])],
        [point(1, [30, 40]), point(2, [60, 90]), point(4, [5000, 90_000])],
    ])
    func thePictureIsWellFormed(points: [LatencyCurve.Point]) throws {
        let curve = LatencyCurve(points)
        let elements = try Self.elements(
            LatencyChart(curve, title: "a < b & \"c\"").svg)
        let lines = elements.filter { $0.name == "polyline" }
        #expect(lines.count == 3)
        #expect(
            lines.allSatisfy {
                $0.attributes["points"]?.split(separator: " ").count == points.count
            })
        #expect(elements.count { $0.name == "circle" } == 3 * points.count)
    }

    @Test func overloadDoesNotFlattenThePicture() throws {
        let curve = Self.curve([(1, 100), (2, 1_000_000)])
        let elements = try Self.elements(LatencyChart(curve, title: "").svg)
        let heights = elements.filter { $0.name == "circle" }.compactMap {
            $0.attributes["cy"].flatMap(Double.init)
        }
        // The picture's frame is 300 high and goes to 500 ms a token.
        #expect(heights.contains { abs($0 - (46 + 300 * 0.8)) < 0.1 })
        #expect(elements.contains { $0.name == "clipPath" })
    }
}
