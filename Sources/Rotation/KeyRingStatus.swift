/// How a ring of keys stands at a moment: what may be known of it.
package struct KeyRingStatus: Sendable {
  package struct Entry: Sendable {
    package let member: KeyRing.Member
    /// When it is expected to be in the next state; nil for never, or when nobody knows.
    package let until: Instant?
  }

  /// The name of the key.
  package let key: String
  package let members: [Entry]
  /// When the active one is to be replaced; nil for never.
  package let rotation: Instant?
  /// Why it does not go on; nil when all is well.
  package let failure: Failure?
  /// From when on that is late; nil for never.
  package let overdue: Instant?
  /// Since when its present work runs; nil while it rests.
  package let workingSince: ContinuousClock.Instant?

  package init(
    _ key: String, _ ring: KeyRing, at moment: KeyRing.Moment,
    workingSince: ContinuousClock.Instant?
  ) {
    self.key = key
    members = ring.members.map { Entry(member: $0, until: ring.nextState(of: $0, at: moment)) }
    rotation = ring.rotation
    failure = ring.failure
    overdue = ring.overdue
    self.workingSince = workingSince
  }
}
