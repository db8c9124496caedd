import NanoFlow
import Testing

@Suite struct MemoryBudgetTests {
    @Test func whatFitsExactlyIsAccepted() throws {
        var budget = MemoryBudget(availableByteCount: 300)
        budget.add("weights", 100)
        budget.add("KV cache", 200)
        #expect(budget.totalByteCount == 300)
        try budget.check()
    }

    @Test func whatIsNoArenaCountsAllTheSame() {
        var budget = MemoryBudget(availableByteCount: 300)
        budget.add("weights", 100)
        budget.add("program", 50, isArena: false)
        #expect(budget.totalByteCount == 150)
        #expect(budget.arenas.map(\.name) == ["weights"])
    }

    @Test func whatDoesNotFitIsRefusedWithTheArithmetic() {
        var budget = MemoryBudget(availableByteCount: 3 << 20)
        budget.add("weights", 1 << 20)
        budget.add("KV cache", (5 << 20) / 2)
        let error = #expect(throws: NanoFlowError.self) { try budget.check() }
        #expect(error?.code == .insufficientMemory)
        #expect(error?.limit == "3.0 MiB")
        #expect(error?.given == "3.5 MiB")
        #expect(error?.description.contains("weights 1.0 MiB + KV cache 2.5 MiB = 3.5 MiB") == true)
    }

    @Test func theTableHasALineAnArenaTheSumAndWhatThereIs() {
        var budget = MemoryBudget(availableByteCount: 1 << 30)
        budget.add("weights", 1 << 20)
        let lines = budget.description.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0].contains("weights") && lines[0].hasSuffix("1.0 MiB"))
        #expect(lines[1].contains("sum") && lines[1].hasSuffix("1.0 MiB"))
        #expect(lines[2].contains("available") && lines[2].hasSuffix("1.0 GiB"))
        #expect(Set(lines.map(\.count)).count == 1)
    }

    @Test func sizesHaveABinaryUnitAndOneDecimal() {
        #expect(bytes(0) == "0 B")
        #expect(bytes(1023) == "1023 B")
        #expect(bytes(1024) == "1.0 KiB")
        #expect(bytes(1536) == "1.5 KiB")
        #expect(bytes(1 << 20) == "1.0 MiB")
        #expect(bytes(24 << 30) == "24.0 GiB")
        #expect(bytes(1 << 50) == "1048576.0 GiB")
    }
}
