import Foundation
import NanoFlow
import Testing

/// Where plans come from, and where tuning leaves them.
@Suite struct PlanSourceTests {
    private static let graph = OperationGraph.decoder(layerCount: 2)
    private static let fingerprint = PlanFingerprint(
        model: "A model/of \"mine\", 2 layers", machine: "a CPU, 2 units", kernels: "avx2_fma")

    @Test func filesLieInTheFolderOfCaches() {
        let path = { (environment: [String: String]) in
            TuningFiles.path(.plans, for: Self.fingerprint, environment: environment)
        }
        let given = path(["XDG_CACHE_HOME": "/c", "HOME": "/h"])
        #expect(given.hasPrefix("/c/nanoflow/plans/A-model-of--mine--"))
        #expect(given.hasSuffix(".json"))
        #expect(path(["HOME": "/h"]).hasPrefix("/h/.cache/nanoflow/plans/"))
        // The specification: a relative path is to be ignored.
        #expect(path(["XDG_CACHE_HOME": "c", "HOME": "/h"]).hasPrefix("/h/.cache/"))
        var other = Self.fingerprint
        other.machine = "another"
        #expect(
            TuningFiles.path(.plans, for: other, environment: ["HOME": "/h"])
                != path(["HOME": "/h"]))
    }

    @Test func wordsChooseThePlans() {
        let generated = ChosenPlans(.generated, for: Self.fingerprint, graph: Self.graph)
        #expect(generated.table == nil && generated.refusal == nil)
        let none = ChosenPlans(.none, for: Self.fingerprint, graph: Self.graph)
        #expect(none.table == PlanTable() && none.refusal == nil)
        // Nobody has tuned this model.
        let best = ChosenPlans(.best, for: Self.fingerprint, graph: Self.graph)
        #expect(best.table == nil && best.refusal == nil)
        var intel = Self.fingerprint
        intel.machine = "Intel(R) Xeon(R) Processor, 2 units"
        #expect(ChosenPlans(.best, for: intel, graph: Self.graph).table == PlanTable())
        #expect(ChosenPlans(.generated, for: intel, graph: Self.graph).table == nil)
        let tuned = ChosenPlans(.tuned, for: Self.fingerprint, graph: Self.graph)
        #expect(tuned.table == PlanTable())
        #expect(tuned.refusal?.description.hasSuffix("It cannot be read.") == true)
    }

    @Test func aFileHasItsTokenBudget() throws {
        let table = PlanTable(
            entries: PlanTable.generated(Self.graph).entries,
            tokenBudget: .init(tokens: 192, limit: 512))
        let data = try PlanFile(table, for: Self.fingerprint).encoded()
        #expect(
            try PlanFile.table(data, for: Self.fingerprint, graph: Self.graph) == table)
        for wrong in ["0", "70000", "\"192\"", "513"] {
            let text = String(decoding: data, as: UTF8.self)
                .replacing("\"tokens\" : 192", with: "\"tokens\" : \(wrong)")
            #expect(throws: PlanFile.Refusal.self, "\(wrong)") {
                try PlanFile.table(
                    Data(text.utf8), for: Self.fingerprint, graph: Self.graph)
            }
        }
    }

    @Test func theTokenBudgetIsThatOfTheModesTable() {
        let table = PlanTable(tokenBudget: .init(tokens: 96, limit: 128))
        var planner = StepPlanner(Self.graph, table: table, mode: .auto)
        #expect(planner.tokenBudget(limit: 128) == 96)
        #expect(planner.tokenBudget(limit: 64) == 64)
        // With more room than it was found for it says nothing.
        #expect(planner.tokenBudget(limit: 256) == 256)
        planner.choose(.sequential)
        #expect(planner.tokenBudget(limit: 128) == 128)
        planner.choose(.auto, table: PlanTable(tokenBudget: .init(tokens: 32, limit: 512)))
        #expect(planner.tokenBudget(limit: 128) == 32)
        planner.choose(.auto)
        #expect(planner.tokenBudget(limit: 128) == 96)
    }
}
