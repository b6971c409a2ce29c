import DequeModule
import NIOCore
import Rotation
import Synchronization

/// Answers that cost something are made one after the other on a queue of their own, so that the
/// event loop only reads and writes, and callers take turns:
/// - operators and others by turns, and among each, one user after the other;
/// - of one user, the newest connection that has had no answer yet, and the one that waits longest,
///   by turns: a new caller does not wait for all that a busy one asked before;
/// - a user's answer is made only when the answers that are on their way to it take less memory
///   than `Limits.sentBytesPerUser`, and all together less than `Limits.sentBytes`; one answer
///   each user always gets.
///
/// What is the same for everybody is made once for all who asked before it was begun.
final class Turns: Sendable {
  /// An answer that is the same for everybody.
  enum Shared: Hashable { case health, metrics }

  /// The bytes of an answer on its way, which count until this is let go.
  final class Charge: Sendable {
    private let turns: Turns
    private let user: UInt32
    private let bytes: Int

    fileprivate init(_ turns: Turns, _ user: UInt32, _ bytes: Int) {
      self.turns = turns
      self.user = user
      self.bytes = bytes
    }

    deinit { turns.release(user, bytes) }
  }

  private let state = Mutex(TurnsState())
  private let run: @Sendable (@escaping @Sendable () -> Void) -> Void

  /// `run` carries out what it is given, elsewhere and one after the other.
  init(_ run: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) { self.run = run }

  /// The answer that `make` makes when the caller's turn comes, on another thread. `shared` says
  /// that it is the same for everybody. When the caller goes, it is not made.
  func take(
    _ caller: Caller, isOperator: Bool, shared: Shared? = nil, on loop: any EventLoop,
    make: @escaping @Sendable () -> Response
  ) -> EventLoopFuture<Response> {
    let promise = loop.makePromise(of: Response.self)
    let number = caller.number
    let user = caller.user
    let mustRun = state.withLock { state in
      state.add(
        Turn(
          number: number, user: user, isOperator: isOperator, isFirst: !caller.isKnown,
          shared: shared, asked: state.tick(), make: make, promise: promise))
      return state.begin()
    }
    caller.ticket.onLeave { [self] in
      let turn = state.withLock { $0.drop(number, user, isOperator: isOperator) }
      turn?.promise.fail(ChannelError.eof)
    }
    if mustRun { run { self.work() } }
    return promise.futureResult.always { _ in caller.ticket.onLeave(nil) }
  }

  /// Whether another answer may be on its way to `user`.
  func hasRoom(_ user: UInt32) -> Bool { state.withLock { $0.hasRoom(user) } }

  /// Whether somebody waits for memory that answers on their way to `user` take.
  func isPressed(_ user: UInt32) -> Bool { state.withLock { $0.isPressed(user) } }

  private func work() {
    while let (turn, made) = state.withLock({ $0.next() }) {
      var response = made ?? turn.make()
      let bytes = response.body.readableBytes
      state.withLock { state in
        state.charge(turn.user, bytes)
        if made == nil, let shared = turn.shared { state.remember(response, shared) }
      }
      response.charge = Charge(self, turn.user, bytes)
      turn.promise.succeed(response)
    }
  }

  private func release(_ user: UInt32, _ bytes: Int) {
    let (mustRun, isCalm) = state.withLock { state in
      let isCalm = state.release(user, bytes)
      return (state.begin(), isCalm)
    }
    if mustRun { run { self.work() } }
    if isCalm { Hardening.trimMemorySoon() }
  }
}

/// One request that waits for its turn.
private struct Turn {
  /// The connection's, which has one request at a time.
  let number: UInt64
  let user: UInt32
  let isOperator: Bool
  let isFirst: Bool
  let shared: Turns.Shared?
  let asked: UInt64
  let make: @Sendable () -> Response
  let promise: EventLoopPromise<Response>
}

/// Who waits, and what is on its way.
private struct TurnsState {
  /// Those of one user who wait.
  private struct Line {
    var new = Deque<Turn>()
    var known = Deque<Turn>()
    var tookNew = false

    var isEmpty: Bool { new.isEmpty && known.isEmpty }

    mutating func next() -> Turn? {
      tookNew = !tookNew
      return tookNew
        ? new.popLast() ?? known.popFirst()
        : oldest()
    }

    private mutating func oldest() -> Turn? {
      guard let first = new.first, first.asked < known.first?.asked ?? .max else {
        return known.popFirst()
      }
      return new.popFirst()
    }

    mutating func drop(_ number: UInt64) -> Turn? {
      if let index = known.firstIndex(where: { $0.number == number }) {
        return known.remove(at: index)
      }
      return new.firstIndex { $0.number == number }.map { new.remove(at: $0) }
    }
  }

  /// The users who wait, in the order of their turns.
  private struct Round {
    var lines: [UInt32: Line] = [:]
    var order = Deque<UInt32>()

    mutating func add(_ turn: Turn) {
      if lines[turn.user] == nil { order.append(turn.user) }
      if turn.isFirst {
        lines[turn.user, default: Line()].new.append(turn)
      } else {
        lines[turn.user, default: Line()].known.append(turn)
      }
    }

    mutating func next(_ hasRoom: (UInt32) -> Bool) -> Turn? {
      guard let index = order.firstIndex(where: hasRoom) else { return nil }
      let user = order.remove(at: index)
      let turn = lines[user]?.next()
      if lines[user]?.isEmpty == true { lines[user] = nil } else { order.append(user) }
      return turn
    }

    mutating func drop(_ number: UInt64, _ user: UInt32) -> Turn? {
      let turn = lines[user]?.drop(number)
      if lines[user]?.isEmpty == true {
        lines[user] = nil
        order.removeAll { $0 == user }
      }
      return turn
    }
  }

  private var operators = Round()
  private var others = Round()
  private var tookOperator = false
  private var isWorking = false
  /// Counts what was asked and begun, so that the one can be compared with the other.
  private var clock: UInt64 = 0
  private var began: UInt64 = 0
  private var made: [Turns.Shared: (began: UInt64, response: Response)] = [:]
  private var charged: [UInt32: Int] = [:]
  private var total = 0
  /// The most that was on its way since memory was last given back.
  private var peak = 0

  mutating func tick() -> UInt64 {
    clock += 1
    return clock
  }

  mutating func add(_ turn: Turn) {
    if turn.isOperator { operators.add(turn) } else { others.add(turn) }
  }

  /// Whether somebody has to begin to work: there is a turn to take, and nobody works.
  mutating func begin() -> Bool {
    guard !isWorking,
      operators.order.contains(where: hasRoom) || others.order.contains(where: hasRoom)
    else { return false }
    isWorking = true
    return true
  }

  /// The next turn, and its answer if it is made already.
  mutating func next() -> (Turn, Response?)? {
    tookOperator = !tookOperator
    let turn =
      tookOperator
      ? operators.next(hasRoom) ?? others.next(hasRoom)
      : others.next(hasRoom) ?? operators.next(hasRoom)
    guard let turn else {
      isWorking = false
      if operators.order.isEmpty, others.order.isEmpty { made = [:] }
      return nil
    }
    if let shared = turn.shared, let known = made[shared], known.began > turn.asked {
      return (turn, known.response)
    }
    began = tick()
    return (turn, nil)
  }

  mutating func remember(_ response: Response, _ shared: Turns.Shared) {
    made[shared] = (began, response)
  }

  mutating func drop(_ number: UInt64, _ user: UInt32, isOperator: Bool) -> Turn? {
    isOperator ? operators.drop(number, user) : others.drop(number, user)
  }

  func hasRoom(_ user: UInt32) -> Bool {
    guard let bytes = charged[user] else { return true }
    return bytes < Limits.sentBytesPerUser && total < Limits.sentBytes
  }

  func isPressed(_ user: UInt32) -> Bool {
    guard let bytes = charged[user] else { return false }
    let waits = operators.lines[user] != nil || others.lines[user] != nil
    return waits && !hasRoom(user)
      || total >= Limits.sentBytes && bytes == charged.values.max()
  }

  mutating func charge(_ user: UInt32, _ bytes: Int) {
    charged[user, default: 0] += bytes
    total += bytes
    peak = max(peak, total)
  }

  /// Says whether much was on its way, and nothing is any more.
  mutating func release(_ user: UInt32, _ bytes: Int) -> Bool {
    total -= bytes
    let rest = charged[user, default: bytes] - bytes
    charged[user] = rest > 0 ? rest : nil
    guard total == 0, peak >= Limits.crowdBytes else { return false }
    peak = 0
    return true
  }
}
