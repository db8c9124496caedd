import Foundation
import NanoDevice
import NanoFlow
import NanoModel
import Testing

/// KV blocks that go to disk and come back: the same answers, bit for bit, and nothing computed twice.
@Suite struct DiskTierTests {
    /// A folder that goes with the test.
    private final class Folder: Sendable {
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("nanoflow-\(UUID().uuidString)").path

        deinit { try? FileManager.default.removeItem(atPath: path) }

        var file: URL { URL(fileURLWithPath: path).appendingPathComponent(BlockFile.fileName) }
    }

    /// 9 blocks: one sequence of the context's 512 tokens and one block more.
    private static let fewBlocks = 9

    private static func configuration(
        _ folder: Folder?, blocks: Int = fewBlocks, precision: Precision = .f32
    ) -> EngineConfiguration {
        let type: KVPrecision = precision == .f32 ? .f32 : precision == .bf16 ? .bf16 : .int8
        var configuration = EngineConfiguration(
            precision: precision, kvPrecision: type, threadCount: 2,
            kvCacheByteCount: blocks
                * KVArena.blockByteCount(
                    layers: 2, kvHeads: 2, headDimension: 16, type: type.kernelType),
            maxBatchedTokens: 96)
        configuration.diskTier = folder.map {
            DiskTierConfiguration(directory: $0.path, byteCount: 16 << 20)
        }
        return configuration
    }

    private static let prompts = (0..<6).map { PrefixReuseTests.tokens(150 + 40 * $0, seed: $0) }

    /// One after the other.
    private static func answers(_ llm: LLM) async throws -> [Completion] {
        var answers: [Completion] = []
        for prompt in prompts {
            answers.append(
                try await llm.generate(.tokens(prompt), sampling: PrefixReuseTests.sampling(20)))
        }
        return answers
    }

    @Test(arguments: [Precision.f32, .bf16, .int8])
    func whatMemoryForgetsComesBackFromDisk(precision: Precision) async throws {
        let folder = Folder()
        let plain = try await tinyModel(Self.configuration(nil, precision: precision))
        let expected = try await Self.answers(plain)
        let llm = try await tinyModel(Self.configuration(folder, precision: precision))
        for round in 0..<2 {
            let answers = try await Self.answers(llm)
            #expect(answers.map(\.tokens) == expected.map(\.tokens))
            // All full blocks but the last token's; six prompts do not fit into memory.
            let known = Self.prompts.map { round == 0 ? 0 : ($0.count - 1) / 64 * 64 }
            #expect(answers.map(\.usage.cachedPromptTokens) == known)
        }
        let transfers = llm.status.transfers
        #expect(transfers.fetched > 0)
        #expect(transfers.failedStores + transfers.failedFetches + transfers.skipped == 0)
        for llm in [plain, llm] { await llm.shutdown() }
    }

    @Test func blocksSurviveARestart() async throws {
        let folder = Folder()
        let first = try await tinyModel(Self.configuration(folder))
        let expected = try await Self.answers(first)
        #expect(first.engine.diskTierText?.hasSuffix("new") == true)
        await first.shutdown()
        let second = try await tinyModel(Self.configuration(folder))
        #expect(second.engine.diskTierText?.contains("from before") == true)
        let answers = try await Self.answers(second)
        #expect(answers.map(\.tokens) == expected.map(\.tokens))
        #expect(
            answers.map(\.usage.cachedPromptTokens)
                == Self.prompts.map { ($0.count - 1) / 64 * 64 })
        await second.shutdown()
        // Another precision has other bits.
        let other = try await tinyModel(Self.configuration(folder, precision: .bf16))
        #expect(other.engine.diskTierText?.contains("begun anew") == true)
        #expect(try await Self.answers(other).allSatisfy { $0.usage.cachedPromptTokens == 0 })
        await other.shutdown()
    }

    @Test func damagedBlocksAreComputedAnew() async throws {
        let folder = Folder()
        let first = try await tinyModel(Self.configuration(folder))
        let expected = try await Self.answers(first)
        await first.shutdown()
        var bytes = [UInt8](try Data(contentsOf: folder.file))
        // Payloads lie behind the headers, which begin their pages.
        for place in stride(from: 8192 + 1000, to: bytes.count, by: 6000) { bytes[place] ^= 0x40 }
        try Data(bytes).write(to: folder.file)
        let second = try await tinyModel(Self.configuration(folder))
        let answers = try await Self.answers(second)
        #expect(answers.map(\.tokens) == expected.map(\.tokens))
        let status = second.status
        #expect(status.transfers.failedFetches > 0)
        #expect(status.diskChecksumFaults == status.transfers.failedFetches)
        // They have been stored again.
        #expect(try await Self.answers(second).map(\.tokens) == expected.map(\.tokens))
        #expect(second.status.transfers.failedFetches == status.transfers.failedFetches)
        await second.shutdown()
    }

    /// Twelve sequences want several times the cache; the forecast does not know how long they get.
    private static func crowd(
        _ llm: LLM, _ sampling: SamplingParameters
    ) async throws -> [Completion] {
        var short = sampling
        short.maxTokens = 1
        for _ in 0..<CompletionLengths.leastCount {
            _ = try await llm.generate(.tokens([5]), sampling: short)
        }
        return try await withThrowingTaskGroup(of: (Int, Completion).self) { group in
            for index in 0..<12 {
                let prompt = PrefixReuseTests.tokens(20 + 7 * index, seed: index)
                group.addTask {
                    (index, try await llm.generate(.tokens(prompt), sampling: sampling))
                }
            }
            var answers: [Int: Completion] = [:]
            for try await (index, completion) in group { answers[index] = completion }
            return answers.sorted { $0.key < $1.key }.map(\.value)
        }
    }

    /// Preempted sequences go to disk and come back: as many positions are computed as with room for
    /// everything.
    @Test func preemptionComputesNothingTwice() async throws {
        let folder = Folder()
        let sampling = SamplingParameters(
            temperature: 0, maxTokens: 200, stopStrings: ["no such text"],
            ignoresEndOfSequence: true)
        let roomy = try await tinyModel(Self.configuration(nil, blocks: 200))
        let expected = try await Self.crowd(roomy, sampling)
        #expect(roomy.status.scheduler.preemptions == 0)
        let tight = try await tinyModel(Self.configuration(folder))
        let answers = try await Self.crowd(tight, sampling)
        #expect(answers.map(\.tokens) == expected.map(\.tokens))
        let status = tight.status
        print("\(status.scheduler.preemptions) preemptions, \(status.transfers)")
        #expect(status.scheduler.preemptions > 0)
        #expect(status.transfers.fetched > 0)
        if status.transfers.skipped == 0 {
            let computed = tight.engine.counters.sums.tokens
            #expect(computed == roomy.engine.counters.sums.tokens)
        }
        for llm in [roomy, tight] { await llm.shutdown() }
    }

    @Test func whatCannotBeUsedIsRefused() async throws {
        let folder = Folder()
        let llm = try await tinyModel(Self.configuration(folder))
        let inUse = await #expect(throws: NanoFlowError.self) {
            _ = try await tinyModel(Self.configuration(folder))
        }
        #expect(inUse?.field == "kv-disk-dir")
        await llm.shutdown()
        var nowhere = Self.configuration(folder)
        nowhere.diskTier = DiskTierConfiguration(directory: "/dev/null/x", byteCount: 16 << 20)
        var unnamed = Self.configuration(folder)
        unnamed.reusesPrefixes = false
        var tiny = Self.configuration(folder)
        tiny.diskTier?.byteCount = 4096
        for configuration in [nowhere, unnamed, tiny] {
            let error = await #expect(throws: NanoFlowError.self) {
                _ = try await tinyModel(configuration)
            }
            #expect(error?.field == "kv-disk-dir")
            #expect(error?.code == .invalidConfiguration)
        }
    }
}
