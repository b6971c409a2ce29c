import CLinux
import Dispatch
import Rotation
import Synchronization

/// The one way onto the main queue, where the daemon's state lives.
enum MainQueue {
  private static let served = Atomic(false)

  /// Whether somebody carries out what is put there: not before the start is done, not once the
  /// daemon ends, and not in the other commands.
  static var isServed: Bool { served.load(ordering: .relaxed) }

  /// Carries out what is put there, for ever. To be called once, on the first thread.
  static func serve() -> Never {
    served.store(true, ordering: .relaxed)
    linux_serve_main_queue()
  }

  /// Nothing more is carried out: the first thread ends the daemon.
  static func leave() { served.store(false, ordering: .relaxed) }

  /// Does it soon, after all that was asked for before.
  static func run(_ work: @escaping @MainActor () -> Void) {
    DispatchQueue.main.async { MainActor.assumeIsolated(work) }
  }

  /// Does it once `pause` is over, and not before.
  static func run(after pause: Duration, _ work: @escaping @MainActor () -> Void) {
    DispatchQueue.main.asyncAfter(deadline: .now() + pause.interval) {
      MainActor.assumeIsolated(work)
    }
  }
}

extension DispatchSourceProtocol {
  /// What happens at each event of this source, which was made for the main queue.
  func handleOnMain(_ work: @escaping @MainActor () -> Void) {
    setEventHandler { MainActor.assumeIsolated(work) }
  }
}

extension Duration {
  /// For Dispatch, which counts whole units: never shorter than this, and never negative.
  var interval: DispatchTimeInterval {
    let parts = max(.zero, self).components
    let isWhole = parts.attoseconds % 1_000_000_000_000 == 0
    return .microseconds(Int(max(.zero, self).microseconds) + (isWhole ? 0 : 1))
  }
}
