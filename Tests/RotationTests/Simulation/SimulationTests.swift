import Testing

/// Many lives of a simulated host, each from its seed. To replay one that failed:
/// `JOTD_SEED=SEED swift test --filter SimulationTests`.
struct SimulationTests {
  @Test func promisesHoldInEveryLife() throws {
    var age: Int64 = 0
    var rotations = 0
    for seed in seeds {
      var host = SimulatedHost(seed: seed)
      do {
        try host.live(steps: 300)
      } catch {
        Issue.record("seed \(seed): \(error)\n\(host.story)")
        return
      }
      age += host.age
      rotations += host.rotations
    }
    // That the lives were lived at all.
    #expect(rotations > 100 * seeds.count)
    print("simulated \(age / 86_400_000_000) days and \(rotations) deliveries")
  }

  private var seeds: [UInt64] {
    if let one = environment("JOTD_SEED").flatMap(UInt64.init) { return [one] }
    return Array(1...(environment("JOTD_SEEDS").flatMap(UInt64.init) ?? 60))
  }
}
