import NIOCore
import Rotation

/// Rings once a time has passed, which is set anew for every request of a connection. A task of the
/// event loop is scheduled only when none comes early enough, so that a busy connection costs none.
/// Lives on the event loop alone.
final class Alarm {
  private let loop: any EventLoop
  private let ring: @Sendable () -> Void
  private var due = NIODeadline.distantFuture
  private var task: (at: NIODeadline, scheduled: Scheduled<Void>)?

  init(_ loop: any EventLoop, _ ring: @escaping @Sendable () -> Void) {
    self.loop = loop
    self.ring = ring
  }

  /// Rings after `span`, and not when it was to ring before.
  func set(in span: Duration) {
    due = loop.now + .microseconds(span.microseconds)
    if task.map({ $0.at > due }) ?? true { schedule() }
  }

  /// Does not ring until it is set again.
  func stop() { due = .distantFuture }

  /// Never rings again.
  func cancel() {
    task?.scheduled.cancel()
    task = nil
    due = .distantFuture
  }

  private func schedule() {
    task?.scheduled.cancel()
    let bound = NIOLoopBound(self, eventLoop: loop)
    let scheduled = loop.scheduleTask(deadline: due) {
      bound.value.task = nil
      bound.value.check()
    }
    task = (due, scheduled)
  }

  private func check() {
    if due <= loop.now {
      due = .distantFuture
      ring()
    } else if due < .distantFuture {
      schedule()
    }
  }
}
