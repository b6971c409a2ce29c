import Dispatch
import Rotation

/// Applies the configuration anew, one reload at a time. It is read and prepared beside the main
/// queue, which goes on rotating, and committed there. Whoever asks while one runs is answered by
/// the next, which reads the files after it was asked.
@MainActor
final class Reloader {
  typealias Answer = @Sendable (Result<Changes, Failure>) -> Void

  enum News: Sendable {
    case begins
    /// What was prepared is to be committed, or why there is nothing; `answer` is to be called with
    /// what came of that.
    case prepared(Result<NewConfiguration, Failure>, answer: Answer)
  }

  private struct Running {
    let number: Int
    let callers: [Answer]
  }

  private let path: String
  private let sockets: ServedSockets
  private let rings: @MainActor () -> RingsInUse
  private let hear: @MainActor (News) -> Void
  private var running: Running?
  private var isWanted = false
  private var callers: [Answer] = []
  private var last = 0
  private var hanging: Set<Int> = []

  /// For the configuration at `path`, beside what `sockets` serves and the `rings` that run. `hear`
  /// is called on the main queue.
  init(
    _ path: String, _ sockets: ServedSockets, rings: @escaping @MainActor () -> RingsInUse,
    hear: @escaping @MainActor (News) -> Void
  ) {
    self.rings = rings
    self.path = path
    self.sockets = sockets
    self.hear = hear
  }

  var isRunning: Bool { running != nil }

  /// Reloads; `answer` is called on the main queue with what came of it.
  func reload(_ answer: Answer? = nil) {
    if let answer { callers.append(answer) }
    isWanted = true
    next()
  }

  private func next() {
    guard isWanted, running == nil else { return }
    isWanted = false
    last += 1
    let number = last
    running = Running(number: number, callers: callers)
    callers = []
    hear(.begins)
    guard hanging.count < Limits.hangingReloads else {
      return end(number, .failure(Failure("earlier reloads still hang")))
    }
    Threads.run { [path, sockets, inUse = rings()] in
      let result = Result { () throws(Failure) in try NewConfiguration(path, sockets, inUse) }
      MainQueue.run { self.end(number, result) }
    }
    MainQueue.run(after: Limits.reloadTime) { self.giveUp(number) }
  }

  private func end(_ number: Int, _ result: Result<NewConfiguration, Failure>) {
    guard let running, running.number == number else {
      hanging.remove(number)
      if case .success(let new) = result {
        Threads.run { [sockets] in sockets.abandon(new.sockets) }
      }
      return
    }
    self.running = nil
    hear(.prepared(result) { outcome in for caller in running.callers { caller(outcome) } })
    next()
  }

  private func giveUp(_ number: Int) {
    guard running?.number == number else { return }
    hanging.insert(number)
    let reason =
      "reading it takes longer than \(Limits.reloadTime.timeSpan): does a disk or a name service "
      + "hang?"
    end(number, .failure(Failure(reason)))
  }
}
