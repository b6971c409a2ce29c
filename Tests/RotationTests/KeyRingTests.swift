import Testing

@testable import Rotation

/// Rings of keys: their lives on simulated hosts, and what operators are answered.
struct KeyRingTests {
  @Test func nobodyIsRefusedInAnyLife() async {
    let seeds =
      environment("JOTD_SEED").flatMap(UInt64.init).map { [$0] }
      ?? Array(1...(environment("JOTD_SEEDS").flatMap(UInt64.init) ?? 600))
    let lives = await withTaskGroup(of: (UInt64, Int, String?).self) { group in
      for seed in seeds {
        group.addTask {
          var life = SimulatedRing(seed: seed)
          do { try life.live(steps: 120) } catch {
            return (
              seed, life.rotations, "\(error)\n" + life.log.suffix(25).joined(separator: "\n")
            )
          }
          return (seed, life.rotations, nil)
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    let failed = lives.filter { $0.2 != nil }
    for life in failed.prefix(3) {
      Issue.record("JOTD_SEED=\(life.0): \(life.2!)")
    }
    if failed.count > 3 { print("and \(failed.count - 3) more rings failed") }
    let rotations = lives.map(\.1).reduce(0, +)
    print("simulated \(lives.count) rings of keys with \(rotations) rotations")
    if lives.count > 20 { #expect(rotations > 5 * lives.count) }
  }

  @Test func aRevocationIsNotSaidToBeDoneBecauseSomethingElseFailed() {
    let moment = KeyRing.Moment(wall: Instant(seconds: 1_700_000_000), sinceBoot: .seconds(9))
    var ring = KeyRing(
      nil, files: [], lastNumber: 0,
      KeyRing.Policy(
        algorithm: .ed25519, rotateEvery: nil, publishAhead: .zero, longestLife: .seconds(60)),
      bootID: "boot", at: moment)
    _ = ring.step(.woke, at: moment)
    _ = ring.step(.made(kid: "one", .ed25519([UInt8](repeating: 1, count: 32))), at: moment)
    _ = ring.step(.done, at: moment)
    // What the clock said is being saved when the wish comes.
    _ = ring.step(.clockSet(by: .seconds(-1)), at: moment)
    _ = ring.step(.asked(.revoke("one"), 1), at: moment)
    let turn = ring.step(.failed(Failure("no room")), at: moment)
    #expect(turn.answers.map { $0.fault?.description } == ["no room"])
    #expect(ring.active?.kid == "one")
  }
}
