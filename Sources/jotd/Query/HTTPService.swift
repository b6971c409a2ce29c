/// What the connections of one kind of socket share.
protocol HTTPService: Sendable {
  /// The order in which answers are made that cost something.
  var turns: FairQueue { get }
  /// The order in which requests are read, on the event loop.
  var slices: Slices { get }
  /// The memory of requests that come in.
  var bodies: Bodies { get }
  /// Whether an answer is the last on its connection, because jotd ends.
  var isEnding: Bool { get }
}
