/// An order to the host.
package enum Order: Sendable {
  /// Carry out a job, and answer with `finish`.
  case run(Job)
  /// Tell whoever is interested.
  case report(Event)
}

/// One deed at one delivery.
package struct Job: Sendable {
  package typealias ID = UInt64
  package enum Deed: Sendable {
    /// Make these bytes what readers find.
    case write([UInt8])
    /// Leave nothing there.
    case remove
  }

  package let id: ID
  package let delivery: Delivery
  package let deed: Deed
}

/// What a running job is for.
enum Assignment {
  /// `expiresAt` is the `exp` of the token of that issue.
  case delivery(slot: Int, position: Int, issue: Int, expiresAt: Int64)
  /// A delivery for an identity that was removed or changed since.
  case leftover(Delivery)
  case removal(Delivery)
}
