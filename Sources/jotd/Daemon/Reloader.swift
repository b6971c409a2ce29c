import Dispatch
import Rotation

/// Applies the configuration anew, one reload at a time. It is read and prepared beside the main
/// queue, which goes on rotating, and committed there. Whoever asks while one runs is answered by
/// the next, which reads the files after it was asked.
@MainActor
final class Reloader<Prepared: Sendable> {
  typealias Answer = @Sendable (Result<Changes, Failure>) -> Void

  private struct Running {
    let number: Int
    let callers: [Answer]
  }

  private let prepare: @Sendable () -> Result<Prepared, Failure>
  private let abandon: @Sendable (Prepared) -> Void
  private let begin: @MainActor () -> Void
  private let commit: @MainActor (Result<Prepared, Failure>) -> Result<Changes, Failure>
  private var running: Running?
  private var isWanted = false
  private var callers: [Answer] = []
  private var last = 0
  private var hanging: Set<Int> = []

  /// `prepare` is called on a queue of its own and can hang; `begin` before it, and `commit` with
  /// what it gives, on the main queue. What comes too late goes to `abandon`, on that queue.
  init(
    prepare: @escaping @Sendable () -> Result<Prepared, Failure>,
    abandon: @escaping @Sendable (Prepared) -> Void, begin: @escaping @MainActor () -> Void,
    commit:
      @escaping @MainActor (Result<Prepared, Failure>) -> Result<
        Changes, Failure
      >
  ) {
    self.prepare = prepare
    self.abandon = abandon
    self.begin = begin
    self.commit = commit
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
    begin()
    guard hanging.count < Limits.hangingReloads else {
      return end(number, .failure(Failure("earlier reloads still hang")))
    }
    DispatchQueue(label: "jotd.reload").async { [prepare] in
      let result = prepare()
      DispatchQueue.main.async { MainActor.assumeIsolated { self.end(number, result) } }
    }
    let limit = DispatchTimeInterval.microseconds(Int(Limits.reloadTime.microseconds))
    DispatchQueue.main.asyncAfter(deadline: .now() + limit) {
      MainActor.assumeIsolated { self.giveUp(number) }
    }
  }

  private func end(_ number: Int, _ result: Result<Prepared, Failure>) {
    guard let running, running.number == number else {
      hanging.remove(number)
      if case .success(let prepared) = result {
        DispatchQueue(label: "jotd.reload").async { [abandon] in abandon(prepared) }
      }
      return
    }
    self.running = nil
    let outcome = commit(result)
    for caller in running.callers { caller(outcome) }
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
