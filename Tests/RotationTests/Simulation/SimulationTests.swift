import Synchronization
import Testing

/// Many lives of a simulated host, each from its seed.
struct SimulationTests {
  private struct Life: Sendable {
    let age: Int64
    let deliveries: Int
    let jitters: [Double]
    /// What did not hold, and what happened before.
    let failure: String?
    let story: String
  }

  /// After so many that failed, the others end early: what is wrong may make lives long.
  private static let enough = 3

  @Test func promisesHoldInEveryLife() async {
    let failures = Failures()
    let lives = await withTaskGroup(of: Life.self) { group in
      for seed in seeds { group.addTask { live(seed, failures) } }
      return await group.reduce(into: []) { $0.append($1) }
    }
    let failed = lives.filter { $0.failure != nil }
    for life in failed.prefix(3) { Issue.record("\(life.failure!)\n\(life.story)") }
    for life in failed.dropFirst(3) { print("also: \(life.failure!)") }
    let years = lives.map(\.age).reduce(0, +) / 31_557_600
    let deliveries = lives.map(\.deliveries).reduce(0, +)
    print("simulated \(lives.count) lives of \(years) years in all, with \(deliveries) deliveries")
    // Of one life alone, this need not be so.
    guard lives.count > 20 else { return }
    // That the lives were lived at all.
    #expect(deliveries > 100 * lives.count)
    // Pauses are stretched and shrunk, by no more than a tenth.
    let jitters = lives.flatMap(\.jitters)
    guard jitters.count > 200 else { return }
    #expect(jitters.min()! > 0.89 && jitters.min()! < 0.92)
    #expect(jitters.max()! < 1.11 && jitters.max()! > 1.08)
  }

  private final class Failures: Sendable {
    let count = Atomic(0)
  }

  private func live(_ seed: UInt64, _ failures: Failures) -> Life {
    var host = SimulatedHost(seed: seed)
    var failure: String?
    do {
      try host.live(steps: 300) {
        failures.count.load(ordering: .relaxed) < SimulationTests.enough
      }
    } catch {
      failures.count.add(1, ordering: .relaxed)
      failure = "\(error)"
    }
    return Life(
      age: host.age, deliveries: host.deliveries, jitters: host.witness.jitters, failure: failure,
      story: "replay with: JOTD_SEED=\(seed) make simulate\n\(host.story)")
  }

  private var seeds: [UInt64] {
    if let one = environment("JOTD_SEED").flatMap(UInt64.init) { return [one] }
    return Array(1...(environment("JOTD_SEEDS").flatMap(UInt64.init) ?? 600))
  }
}
