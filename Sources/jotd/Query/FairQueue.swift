import DequeModule
import NIOCore
import Rotation
import Synchronization

/// Answers that cost something are made one after the other on a thread of their own, so that the
/// event loop only reads and writes, and callers take turns:
/// - operators and others by turns, and among each, one user after the other;
/// - of one user, the newest connection that has had no answer yet, and the one that waits longest,
///   by turns: a new caller does not wait for all that a busy one asked before;
/// - a user's answer is made only when the answers that are on their way to it take less memory
///   than `Limits.sentBytesPerUser`, and all together less than `Limits.sentBytes`; one answer
///   each user always gets.
///
/// What is the same for everybody is made once for all who asked before it was begun.
final class FairQueue: Sendable {
  /// An answer that is the same for everybody.
  enum Shared: Hashable { case health, metrics }

  private let state = Mutex(FairQueueState())
  private let run: @Sendable (@escaping @Sendable () -> Void) -> Void

  /// `run` carries out what it is given on another thread; it is given one piece of work at a time.
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
        Waiter(
          number: number, user: user, isOperator: isOperator, isFirst: !caller.isKnown,
          shared: shared, asked: state.tick(), make: make, promise: promise))
      return state.begin()
    }
    caller.ticket.onLeave { [self] in
      let waiter = state.withLock { $0.drop(number, user, isOperator: isOperator) }
      waiter?.promise.fail(ChannelError.eof)
    }
    if mustRun { run { self.work() } }
    return promise.futureResult.always { _ in caller.ticket.onLeave(nil) }
  }

  /// Whether another answer may be on its way to `user`.
  func hasRoom(_ user: UInt32) -> Bool { state.withLock { $0.hasRoom(user) } }

  /// Whether somebody waits for memory that answers on their way to `user` take.
  func isPressed(_ user: UInt32) -> Bool { state.withLock { $0.isPressed(user) } }

  private func work() {
    while let (waiter, made) = state.withLock({ $0.next() }) {
      var response = made ?? waiter.make()
      let bytes = response.body.readableBytes
      state.withLock { state in
        state.charge(waiter.user, bytes)
        if made == nil, let shared = waiter.shared { state.remember(response, shared) }
      }
      response.charge = Charge { [self, user = waiter.user] in release(user, bytes) }
      waiter.promise.succeed(response)
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
private struct Waiter {
  /// The connection's, which has one request at a time.
  let number: UInt64
  let user: UInt32
  let isOperator: Bool
  let isFirst: Bool
  let shared: FairQueue.Shared?
  let asked: UInt64
  let make: @Sendable () -> Response
  let promise: EventLoopPromise<Response>
}

/// Who waits, and what is on its way.
private struct FairQueueState {
  /// Those of one user who wait.
  private struct Line {
    var new = Deque<Waiter>()
    var known = Deque<Waiter>()
    var tookNew = false

    var isEmpty: Bool { new.isEmpty && known.isEmpty }

    mutating func next() -> Waiter? {
      tookNew = !tookNew
      return tookNew
        ? new.popLast() ?? known.popFirst()
        : oldest()
    }

    private mutating func oldest() -> Waiter? {
      guard let first = new.first, first.asked < known.first?.asked ?? .max else {
        return known.popFirst()
      }
      return new.popFirst()
    }

    mutating func drop(_ number: UInt64) -> Waiter? {
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

    mutating func add(_ waiter: Waiter) {
      if lines[waiter.user] == nil { order.append(waiter.user) }
      if waiter.isFirst {
        lines[waiter.user, default: Line()].new.append(waiter)
      } else {
        lines[waiter.user, default: Line()].known.append(waiter)
      }
    }

    mutating func next(_ hasRoom: (UInt32) -> Bool) -> Waiter? {
      guard let index = order.firstIndex(where: hasRoom) else { return nil }
      let user = order.remove(at: index)
      let waiter = lines[user]?.next()
      if lines[user]?.isEmpty == true { lines[user] = nil } else { order.append(user) }
      return waiter
    }

    mutating func drop(_ number: UInt64, _ user: UInt32) -> Waiter? {
      let waiter = lines[user]?.drop(number)
      if lines[user]?.isEmpty == true {
        lines[user] = nil
        order.removeAll { $0 == user }
      }
      return waiter
    }
  }

  private var operators = Round()
  private var others = Round()
  private var tookOperator = false
  private var isWorking = false
  /// Counts what was asked and begun, so that the one can be compared with the other.
  private var clock: UInt64 = 0
  private var began: UInt64 = 0
  private var made: [FairQueue.Shared: (began: UInt64, response: Response)] = [:]
  private var charged: [UInt32: Int] = [:]
  private var total = 0
  /// The most that was on its way since memory was last given back.
  private var peak = 0

  mutating func tick() -> UInt64 {
    clock += 1
    return clock
  }

  mutating func add(_ waiter: Waiter) {
    if waiter.isOperator { operators.add(waiter) } else { others.add(waiter) }
  }

  /// Whether somebody has to begin to work: there is a turn to take, and nobody works.
  mutating func begin() -> Bool {
    guard !isWorking,
      operators.order.contains(where: hasRoom) || others.order.contains(where: hasRoom)
    else { return false }
    isWorking = true
    return true
  }

  /// Who is next, and the answer if it is made already.
  mutating func next() -> (Waiter, Response?)? {
    tookOperator = !tookOperator
    let waiter =
      tookOperator
      ? operators.next(hasRoom) ?? others.next(hasRoom)
      : others.next(hasRoom) ?? operators.next(hasRoom)
    guard let waiter else {
      isWorking = false
      if operators.order.isEmpty, others.order.isEmpty { made = [:] }
      return nil
    }
    if let shared = waiter.shared, let known = made[shared], known.began > waiter.asked {
      return (waiter, known.response)
    }
    began = tick()
    return (waiter, nil)
  }

  mutating func remember(_ response: Response, _ shared: FairQueue.Shared) {
    made[shared] = (began, response)
  }

  mutating func drop(_ number: UInt64, _ user: UInt32, isOperator: Bool) -> Waiter? {
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
