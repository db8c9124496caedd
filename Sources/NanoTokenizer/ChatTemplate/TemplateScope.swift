/// The names that one block assigned.
///
/// A loop pass, a macro call and a capturing block each open a scope, which ends with them; an
/// `if` does not.
final class TemplateScope {
    private let parent: TemplateScope?
    // Scopes hold few names: a walk beats a table.
    private var names: [Int] = []
    private var values: [RuntimeValue] = []

    init(parent: TemplateScope?) { self.parent = parent }

    func lookUp(_ name: Int) -> RuntimeValue? {
        var scope: TemplateScope? = self
        while let here = scope {
            if let position = here.names.firstIndex(of: name) { return here.values[position] }
            scope = here.parent
        }
        return nil
    }

    func assign(_ name: Int, _ value: RuntimeValue) {
        if let position = names.firstIndex(of: name) {
            values[position] = value
        } else {
            names.append(name)
            values.append(value)
        }
    }
}

/// A macro together with the scope in which it was defined.
struct MacroClosure {
    let macro: TemplateMacro
    let scope: TemplateScope
}

/// A loop that is running: where it stands, and what its `loop` variable tells.
final class LoopState {
    let serial: Int
    let loop: TemplateLoop
    let scope: TemplateScope
    /// How many recursive calls of this loop it is inside.
    let depth: Int
    /// Items not yet looked at, and whether they still have to pass the loop's condition.
    var pending: ArraySlice<RuntimeValue>
    var isFiltered: Bool
    var index = -1
    var previous: RuntimeValue?
    var current: RuntimeValue?
    /// The next item, once something asked for it.
    var peeked: RuntimeValue?
    var length: Int?
    var lastChanged: [RuntimeValue]?

    init(
        _ loop: TemplateLoop, serial: Int, items: [RuntimeValue], scope: TemplateScope, depth: Int
    ) {
        self.loop = loop
        self.serial = serial
        self.scope = scope
        self.depth = depth
        self.pending = items[...]
        self.isFiltered = loop.condition != nil
        self.length = isFiltered ? nil : items.count
    }
}
