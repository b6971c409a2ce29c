import Synchronization

/// Who asks on one connection of the query socket.
final class Caller: Sendable {
  let user: UInt32
  /// The connection's number.
  let number: UInt64
  /// With which the connection's request waits.
  let ticket = Ticket()
  private let answers = Atomic(false)

  init(_ user: UInt32, _ number: UInt64) {
    self.user = user
    self.number = number
  }

  /// Whether the connection has had an answer already.
  var isKnown: Bool { answers.load(ordering: .relaxed) }

  func wasAnswered() { answers.store(true, ordering: .relaxed) }
}
