import Foundation
import NanoDevice

/// Writes a line to standard error.
func printError(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
}

/// Writes text to standard output at once, so that a stream is seen as it comes.
func printPart(_ text: String) {
    FileHandle.standardOutput.write(Data(text.utf8))
}

/// One line on standard error that says what is being done and how far it is.
///
/// On a terminal the line is written over; elsewhere each new activity gets one line.
final class ProgressLine: Sendable {
    private let lastText = Locked("")
    let isTerminal = isatty(STDERR_FILENO) != 0

    func show(_ activity: String, _ share: Double) {
        let text = isTerminal ? "\(activity): \(Int(share * 100)) %" : activity
        let isNew = lastText.withLock { last in
            defer { last = text }
            return last != text
        }
        guard isNew else { return }
        let line = isTerminal ? "\r\u{1B}[K\(text)" : "\(text)\n"
        FileHandle.standardError.write(Data(line.utf8))
    }

    func clear() {
        if isTerminal { FileHandle.standardError.write(Data("\r\u{1B}[K".utf8)) }
    }
}
