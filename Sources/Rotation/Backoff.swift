/// The pauses between tries at something that fails: from `Limits.firstRetry` on, each is twice the
/// last, up to `Limits.longestRetry`.
package struct Backoff: Sendable {
  private var tries = 0

  package init() {}

  /// Whether nothing was tried yet.
  var isFresh: Bool { tries == 0 }

  /// The pause before the next try.
  package mutating func next() -> Duration {
    // Sixteen doublings of any first pause are longer than the longest.
    let doubled = Limits.firstRetry * (1 << min(tries, 16))
    tries += 1
    return min(doubled, Limits.longestRetry)
  }
}
