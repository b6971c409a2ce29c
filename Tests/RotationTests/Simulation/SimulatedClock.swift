@testable import Rotation

/// True time, which only passes, and a wall clock that drifts away from it and is set. All in
/// microseconds.
struct SimulatedClock {
  static let birth: Int64 = 1_700_000_000_000_000

  private(set) var time = birth
  private(set) var wall = birth
  /// By how many parts in a million the wall clock is too fast: adjtimex(2) slews by up to 500.
  var drift: Int64 = 0

  var now: Instant { Instant(microseconds: wall) }

  mutating func pass(to moment: Int64) {
    let span = max(0, moment - time)
    time += span
    wall += span + span * drift / 1_000_000
  }

  mutating func set(by step: Int64) { wall += step }

  /// The true time at which a timer for `instant` ends, unless the clock is set before.
  func moment(of instant: Instant) -> Int64 {
    let ahead = max(0, instant.microseconds - wall)
    // Three for the rounding.
    return time + ahead - ahead * drift / (1_000_000 + drift) + 3
  }
}
