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
        let rule = ChosenPlans(.rule, for: Self.fingerprint, graph: Self.graph)
        #expect(rule.table == nil && rule.refusal == nil)
        let none = ChosenPlans(.none, for: Self.fingerprint, graph: Self.graph)
        #expect(none.table == PlanTable() && none.refusal == nil)
        // Nobody has tuned this model.
        let best = ChosenPlans(.best, for: Self.fingerprint, graph: Self.graph)
        #expect(best.table == nil && best.refusal == nil)
        let tuned = ChosenPlans(.tuned, for: Self.fingerprint, graph: Self.graph)
        #expect(tuned.table == PlanTable())
        #expect(tuned.refusal?.description.hasSuffix("It cannot be read.") == true)
    }

    @Test func aFileHasItsTokenBudget() throws {
        let table = PlanTable(
            entries: PlanTable.generated(Self.graph).entries, tokenBudget: 192)
        let data = try PlanFile(table, for: Self.fingerprint).encoded()
        #expect(
            try PlanFile.table(data, for: Self.fingerprint, graph: Self.graph) == table)
        for wrong in ["0", "70000", "\"192\""] {
            let text = String(decoding: data, as: UTF8.self)
                .replacing("\"token_budget\" : 192", with: "\"token_budget\" : \(wrong)")
            #expect(throws: PlanFile.Refusal.self) {
                try PlanFile.table(
                    Data(text.utf8), for: Self.fingerprint, graph: Self.graph)
            }
        }
    }

    @Test func theTokenBudgetIsThatOfTheModesTable() {
        let table = PlanTable(entries: [], tokenBudget: 96)
        var planner = StepPlanner(Self.graph, table: table, mode: .auto)
        #expect(planner.tokenBudget == 96)
        planner.choose(.sequential)
        #expect(planner.tokenBudget == nil)
        planner.choose(.auto, table: PlanTable(tokenBudget: 32))
        #expect(planner.tokenBudget == 32)
        planner.choose(.auto)
        #expect(planner.tokenBudget == 96)
    }
}
