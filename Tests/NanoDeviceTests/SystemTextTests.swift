import NanoDevice
import Testing

@Suite struct SystemTextTests {
    @Test(arguments: [
        ("0-1\n", [0, 1]), ("0-3,8,10-11", [0, 1, 2, 3, 8, 10, 11]), ("5", [5]),
        ("2,0-1,1", [0, 1, 2]), ("", []), ("\n", []),
    ])
    func indexListsAreReadAscendingAndOnce(_ text: String, _ indices: [Int]) {
        #expect(SystemText.indexList(text) == indices)
    }

    @Test(arguments: [
        "-1", "3-1", "a", "0-", "0--2", "0-1-2", "0-99999999999999999999", "0-65536",
    ])
    func aMalformedIndexListIsEmpty(_ text: String) {
        #expect(SystemText.indexList(text).isEmpty)
    }

    @Test(arguments: ["0-3,8,10-11", "5", "0-1", "7,9", ""])
    func indexRangesSpellWhatIndexListsRead(_ text: String) {
        #expect(SystemText.indexRanges(SystemText.indexList(text)) == text)
    }

    @Test func byteSizesKnowTheirUnits() {
        #expect(SystemText.byteSize("48K\n") == 48 << 10)
        #expect(SystemText.byteSize("32768K") == 32 << 20)
        #expect(SystemText.byteSize("2M") == 2 << 20)
        #expect(SystemText.byteSize("512") == 512)
    }

    @Test(arguments: ["", "K", "-1K", "4.5M", "48 KB", "9223372036854775807G"])
    func aMalformedByteSizeIsUnknown(_ text: String) {
        #expect(SystemText.byteSize(text) == nil)
    }

    @Test func theChosenWordStandsInBrackets() {
        #expect(SystemText.chosenWord("always [madvise] never\n") == "madvise")
        #expect(SystemText.chosenWord("always madvise [never]") == "never")
        for text in ["", "always", "] [", "[]", "[always"] {
            #expect(SystemText.chosenWord(text) == nil)
        }
    }

    @Test func memoryFiguresAreBytesWhereTheTextSaysKB() {
        let text = """
            MemTotal:       24684096 kB
            MemAvailable:   24011860 kB
            HugePages_Total:      12
            Hugepagesize:       2048 kB
            Broken:
            Negative and without a colon 1 kB
            Huge:  9223372036854775807 kB
            """
        let figures = SystemText.memoryFigures(text)
        #expect(
            figures == [
                "MemTotal": 24_684_096 << 10, "MemAvailable": 24_011_860 << 10,
                "HugePages_Total": 12, "Hugepagesize": 2048 << 10,
            ])
        #expect(
            SystemText.memoryFigures("Node 1 MemTotal:  2048 kB\n") == ["MemTotal": 2048 << 10])
    }

    @Test func theFirstValueOfAKeyIsFound() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: Other\n"
        #expect(SystemText.firstValue(of: "model name", in: text) == "AMD EPYC")
        #expect(SystemText.firstValue(of: "model", in: text) == nil)
        #expect(SystemText.firstValue(of: "flags", in: "flags\t:\n") == nil)
    }

    @Test func quotasAreCPUsWorthOfTime() {
        #expect(SystemText.cpuQuota("150000 100000\n") == 1.5)
        #expect(SystemText.cpuQuota(microseconds: 50_000, period: 100_000) == 0.5)
        #expect(SystemText.cpuQuota(microseconds: -1, period: 100_000) == nil)
        for text in ["max 100000", "", "100000", "1 0", "-1 100000", "inf 1", "nan 1", "1 2 3"] {
            #expect(SystemText.cpuQuota(text) == nil)
        }
    }
}
