/// The page that the server has at `/`: one file, embedded in the binary, that asks nobody but the
/// server.
///
/// A module of its own, as the compiler takes a while for a list of so many bytes.
package enum WebPage {
    /// UTF-8.
    package static let html: [UInt8] = PackageResources.page_html
}
