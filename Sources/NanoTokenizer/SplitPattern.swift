import CPCRE2

/// A compiled regular expression that cuts UTF-8 text into pieces.
///
/// PCRE2's compiled code is never written to after compilation, so tasks may share a pattern; the
/// memory of a match in progress belongs to the call.
package final class SplitPattern: Sendable {
    // Safe to share: written once in `init`, freed in `deinit`, only read in between.
    private nonisolated(unsafe) let code: OpaquePointer

    /// Compiles `pattern`, to machine code where PCRE2 can.
    package init(_ pattern: String) throws(TokenizerError) {
        var errorCode: CInt = 0
        var errorOffset = 0
        let utf8 = Array(pattern.utf8)
        let compiled = pcre2_compile_8(
            utf8, utf8.count, UInt32(PCRE2_UTF) | UInt32(PCRE2_UCP), &errorCode, &errorOffset, nil)
        guard let compiled else {
            throw .patternRefused(reason: Self.message(errorCode) + " at offset \(errorOffset)")
        }
        code = compiled
        // Without machine code, matching is slower and otherwise the same.
        _ = pcre2_jit_compile_8(compiled, UInt32(PCRE2_JIT_COMPLETE))
    }

    deinit {
        pcre2_code_free_8(code)
    }

    /// Calls `body` with the pieces of `text` from left to right; joined, they are the text.
    ///
    /// What lies between two matches is a piece too. `text` must be valid UTF-8.
    package func forEachPiece(
        of text: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        guard let matchData = pcre2_match_data_create_8(1, nil) else {
            preconditionFailure("There is no memory for the state of a match.")
        }
        defer { pcre2_match_data_free_8(matchData) }
        var context = MatchContext()
        defer { context.free() }

        var position = 0
        while position < text.count {
            guard let match = nextMatch(in: text, from: position, matchData, &context) else {
                break
            }
            if match.lowerBound > position {
                body(.init(rebasing: text[position..<match.lowerBound]))
            }
            body(.init(rebasing: text[match]))
            position = match.upperBound
        }
        if position < text.count {
            body(.init(rebasing: text[position...]))
        }
    }

    private func nextMatch(
        in text: UnsafeBufferPointer<UInt8>, from start: Int, _ matchData: OpaquePointer,
        _ context: inout MatchContext
    ) -> Range<Int>? {
        var options = UInt32(PCRE2_NO_UTF_CHECK) | UInt32(PCRE2_NOTEMPTY)
        while true {
            let result = pcre2_match_8(
                code, text.baseAddress, text.count, start, options, matchData, context.pointer)
            if result >= 0, let bounds = pcre2_get_ovector_pointer_8(matchData) {
                return bounds[0]..<bounds[1]
            }
            switch result {
            case PCRE2_ERROR_NOMATCH:
                return nil
            case PCRE2_ERROR_JIT_STACKLIMIT:
                // The interpreter keeps its state on the heap: slower, but it needs no stack.
                if !context.growStack() { options |= UInt32(PCRE2_NO_JIT) }
            default:
                preconditionFailure("PCRE2 could not split a text: \(Self.message(result)).")
            }
        }
    }

    private static func message(_ code: CInt) -> String {
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = pcre2_get_error_message_8(code, &buffer, buffer.count)
        return count < 0 ? "error \(code)" : String(decoding: buffer[..<Int(count)], as: UTF8.self)
    }
}

/// What the matches of one call share: PCRE2's limits, and a stack once the default is too small.
///
/// PCRE2 gives machine code 32 KiB of the thread's own stack, which our patterns do not exceed on
/// any text known to us; this is for the text that does.
private struct MatchContext {
    let pointer: OpaquePointer
    private var stack: OpaquePointer?
    private var stackByteCount = 1 << 15

    private static let maxStackByteCount = 1 << 24

    init() {
        guard let pointer = pcre2_match_context_create_8(nil) else {
            preconditionFailure("There is no memory for the limits of a match.")
        }
        self.pointer = pointer
        // The default limits stop patterns that run away. Ours are linear, texts may be long.
        pcre2_set_match_limit_8(pointer, .max)
        pcre2_set_heap_limit_8(pointer, .max)
        pcre2_set_depth_limit_8(pointer, .max)
    }

    /// Gives the next match a larger stack; false when it has had the largest.
    mutating func growStack() -> Bool {
        guard stackByteCount < Self.maxStackByteCount else { return false }
        stackByteCount = min(stackByteCount * 8, Self.maxStackByteCount)
        if let stack { pcre2_jit_stack_free_8(stack) }
        stack = pcre2_jit_stack_create_8(1 << 15, stackByteCount, nil)
        pcre2_jit_stack_assign_8(pointer, nil, stack.map(UnsafeMutableRawPointer.init))
        return stack != nil
    }

    func free() {
        if let stack { pcre2_jit_stack_free_8(stack) }
        pcre2_match_context_free_8(pointer)
    }
}
