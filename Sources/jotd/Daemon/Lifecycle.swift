import Glibc
import Rotation

/// How the service stands, from the lock that lets it run to the signal that ends it, and what
/// systemd is told of that.
@MainActor
final class Lifecycle {
  enum Phase { case starting, ready, reloading }

  /// What a signal asks for.
  enum Request: Sendable {
    case reload
    case stop(signal: String)
  }

  private(set) var phase = Phase.starting
  private let signals: Signals
  /// Nil before it is taken, when its disk hangs, and when no folder can hold it: jotd then runs
  /// without one.
  private var lock: RunLock?
  private let systemd = SystemdNotifier()

  /// From now on, `ask` is called on the main queue with what a signal asks for.
  init(ask: @escaping @MainActor (Request) -> Void) throws(Failure) {
    signals = try Signals { number, name in
      ask(number == SIGHUP ? .reload : .stop(signal: name))
    }
    systemd.keepWatchdog()
  }

  /// Keeps others from running with the configuration at `path`; throws when somebody does.
  func takeLock(for path: String) throws(Failure) {
    let taken = waiting(for: Limits.stallTimeout) {
      Result { () throws(Failure) in try RunLock.take(for: path) }
    } late: {
      if case .success(let lock) = $0 { lock?.release() }
    }
    lock = try taken?.get()
  }

  /// Gives the lock back after a start that failed; waits for `Limits.stallTimeout` at most.
  func giveUpStart() { _ = waiting(for: Limits.stallTimeout, unlocking) }

  /// Whether READY=1 is to be said as soon as it is so: at the start, and after a reload.
  var owesReady: Bool { phase == .starting || phase == .reloading }

  /// All is delivered, or its failure reported.
  func becomeReady() {
    phase = .ready
    systemd.ready()
  }

  /// A reload begins. During the start it is part of that.
  func beginReload() {
    systemd.reloading()
    if phase == .ready { phase = .reloading }
  }

  /// See `SystemdNotifier.status`.
  func tell(_ status: String, refusedReload: String?) {
    systemd.status(status, refusedReload: refusedReload)
  }

  func beginStop() { systemd.stopping() }

  /// Gives the lock back. It can hang: not for the main queue.
  var unlocking: @Sendable () -> Void { { [lock] in lock?.release() } }

  /// Waits until systemd is told everything, or for `limit`.
  func flush(within limit: Duration) { systemd.flush(within: limit) }
}
