/// A chat template of a model: the Jinja text that turns a list of messages into a prompt.
///
/// The language and its settings are those of jinja2 3.1 as Hugging Face transformers sets it up:
/// an immutable sandbox with `trim_blocks` and `lstrip_blocks`, the tags `generation`, `break` and
/// `continue`, and the functions `raise_exception` and `strftime_now`. A template is text of
/// unknown origin: it reaches nothing but the variables it is given, and its time, memory and
/// stack are bounded by ``ChatTemplateLimits``.
package struct ChatTemplate: Sendable {
    private let program: TemplateProgram
    private let limits: ChatTemplateLimits

    /// Parses a template once, for any number of renderings.
    ///
    /// - Parameters:
    ///   - source: The text of the template.
    ///   - limits: What parsing and each rendering may use.
    /// - Throws: ``ChatTemplateError`` of kind `syntax` or `limit`.
    package init(
        _ source: String, limits: ChatTemplateLimits = ChatTemplateLimits()
    ) throws(ChatTemplateError) {
        let byteCount = source.utf8.count
        guard byteCount <= limits.maxSourceByteCount else {
            throw ChatTemplateError(
                .limit, line: 1,
                "The chat template has \(byteCount) bytes; "
                    + "at most \(limits.maxSourceByteCount) are read.")
        }
        var lexer = TemplateLexer(source)
        var parser = TemplateParser(tokens: try lexer.tokenize(), maxDepth: limits.maxDepth)
        self.program = try parser.parseProgram()
        self.limits = limits
    }

    /// Renders the template with some variables.
    ///
    /// - Parameters:
    ///   - variables: `messages`, `add_generation_prompt`, `bos_token`, `tools` and whatever else
    ///     the template reads; a name that is missing is undefined, which prints as nothing.
    ///   - clock: Gives the date and time that `strftime_now` formats.
    /// - Returns: The text that the template makes of them.
    /// - Throws: ``ChatTemplateError`` of kind `raised` when the template itself refuses the
    ///   variables, `evaluation` when it does what its language forbids, or `limit`.
    package func render(
        _ variables: [String: TemplateValue], clock: () -> TemplateDate = TemplateDate.now
    ) throws(ChatTemplateError) -> String {
        try withoutActuallyEscaping(clock) { (clock) throws(ChatTemplateError) -> String in
            let interpreter = TemplateInterpreter(program, limits: limits, clock: clock)
            return try interpreter.render(variables)
        }
    }
}

/// What parsing and rendering a chat template may use.
///
/// The default depth fits a thread stack of 512 KiB: the hostile templates of the tests use up to
/// 70 KiB of it in a release build and 450 KiB in a debug build.
package struct ChatTemplateLimits: Sendable, Hashable {
    /// Most bytes of source that are parsed.
    package var maxSourceByteCount: Int
    /// Most steps of one rendering: a step is a node evaluated, an element handled, or
    /// ``bytesPerStep`` bytes of text built, so that steps bound time and memory alike.
    package var maxSteps: Int
    /// Most bytes of the rendered text, and of any text on the way to it.
    package var maxOutputByteCount: Int
    /// Deepest nesting of expressions, blocks and calls, in the source and while rendering.
    package var maxDepth: Int
    /// Deepest nesting of lists and dictionaries inside one value.
    package var maxValueDepth: Int

    /// How many bytes of text are built for the price of one step.
    package static let bytesPerStep = 128

    /// Creates limits; each default leaves an order of magnitude above what known templates use.
    package init(
        maxSourceByteCount: Int = 1 << 19, maxSteps: Int = 2_000_000,
        maxOutputByteCount: Int = 1 << 24, maxDepth: Int = 128, maxValueDepth: Int = 80
    ) {
        self.maxSourceByteCount = maxSourceByteCount
        self.maxSteps = maxSteps
        self.maxOutputByteCount = maxOutputByteCount
        self.maxDepth = maxDepth
        self.maxValueDepth = maxValueDepth
    }
}
