/// What the daemon's parts tell it. A part gets the mailbox when it is made, which is before the
/// daemon is. Parts speak from the main queue, which runs once the start is over; should one speak
/// before, what it says is kept.
@MainActor
final class Mailbox<Message: Sendable> {
  private var waiting: [Message] = []
  private var take: ((Message) -> Void)?

  /// On the main queue: the message is taken before this returns, once somebody takes any.
  func put(_ message: Message) {
    if let take { take(message) } else { waiting.append(message) }
  }

  /// From any thread: the message is taken on the main queue, soon.
  nonisolated func post(_ message: Message) { MainQueue.run { self.put(message) } }

  /// From now on, `take` gets every message, those that wait first. For the life of the process.
  func open(_ take: @escaping (Message) -> Void) {
    while !waiting.isEmpty { take(waiting.removeFirst()) }
    self.take = take
  }
}
