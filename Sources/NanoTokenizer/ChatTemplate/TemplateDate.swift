#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A date and time of day without a zone, as `strftime_now` of a template formats it.
package struct TemplateDate: Sendable, Hashable {
    /// The year, 1 to 9999.
    package let year: Int
    /// The month, 1 to 12.
    package let month: Int
    /// The day of the month, 1 to 31.
    package let day: Int
    /// The hour, 0 to 23.
    package let hour: Int
    /// The minute, 0 to 59.
    package let minute: Int
    /// The second, 0 to 59.
    package let second: Int

    /// Creates a date; each number must lie in its range.
    package init(
        year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0
    ) {
        precondition(
            1...9999 ~= year && 1...12 ~= month && 1...31 ~= day && 0..<24 ~= hour
                && 0..<60 ~= minute && 0...60 ~= second, "A part of a date is out of range.")
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
    }

    /// Returns the date and time of now in the zone of this machine.
    package static func now() -> TemplateDate {
        var seconds = time(nil)
        var parts = tm()
        localtime_r(&seconds, &parts)
        return TemplateDate(
            year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday),
            hour: Int(parts.tm_hour), minute: Int(parts.tm_min), second: Int(parts.tm_sec))
    }
}

extension TemplateDate {
    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September",
        "October", "November", "December",
    ]
    private static let weekdays = [
        "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
    ]

    private var isLeapYear: Bool {
        year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
    }

    /// The day of the year, counted from one.
    private var yearDay: Int {
        let lengths = [31, isLeapYear ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return lengths[..<(month - 1)].reduce(day, +)
    }

    /// The day of the week, Sunday being zero.
    private var weekday: Int {
        let before = year - 1
        // The first of January of the year 1 was a Monday.
        return (before * 365 + before / 4 - before / 100 + before / 400 + yearDay) % 7
    }

    /// Returns the date as C's `strftime` writes it in the C locale, with its `-` flag.
    func formatted(_ format: String) -> String {
        var result = ""
        var rest = format.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            let isBare = rest.first == "-"
            if isBare { rest.removeFirst() }
            guard let letter = rest.popFirst() else {
                result += isBare ? "%-" : "%"
                break
            }
            if let text = field(Character(letter), isBare: isBare) {
                result += text
            } else {
                result += (isBare ? "%-" : "%") + String(letter)
            }
        }
        return result
    }

    private func field(_ letter: Character, isBare: Bool) -> String? {
        func number(_ value: Int, _ width: Int = 2, padding: Character = "0") -> String {
            let digits = String(value)
            guard !isBare else { return digits }
            return String(repeating: padding, count: max(0, width - digits.count)) + digits
        }
        let halfDay = hour % 12 == 0 ? 12 : hour % 12
        return switch letter {
        case "Y": isBare ? String(year) : number(year, 1)
        case "C": number(year / 100)
        case "y": number(year % 100)
        case "m": number(month)
        case "d": number(day)
        case "e": number(day, padding: " ")
        case "H": number(hour)
        case "k": number(hour, padding: " ")
        case "I": number(halfDay)
        case "l": number(halfDay, padding: " ")
        case "M": number(minute)
        case "S": number(second)
        case "f": "000000"
        case "j": number(yearDay, 3)
        case "w": String(weekday)
        case "u": String(weekday == 0 ? 7 : weekday)
        case "U": number((yearDay + 6 - weekday) / 7)
        case "W": number((yearDay + 6 - (weekday + 6) % 7) / 7)
        case "p": hour < 12 ? "AM" : "PM"
        case "P": hour < 12 ? "am" : "pm"
        case "B": Self.months[month - 1]
        case "b", "h": String(Self.months[month - 1].prefix(3))
        case "A": Self.weekdays[weekday]
        case "a": String(Self.weekdays[weekday].prefix(3))
        case "D", "x": formatted("%m/%d/%y")
        case "F": formatted("%Y-%m-%d")
        case "T", "X": formatted("%H:%M:%S")
        case "R": formatted("%H:%M")
        case "r": formatted("%I:%M:%S %p")
        case "c": formatted("%a %b %e %H:%M:%S %Y")
        case "z", "Z": ""
        case "n": "\n"
        case "t": "\t"
        case "%": "%"
        default: nil
        }
    }
}
