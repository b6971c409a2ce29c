import CLinux
import Dispatch
import Glibc
import Rotation

/// The signals that steer the daemon: SIGTERM, SIGINT and SIGHUP. A handler passes them on through
/// a pipe, under a Dispatch source: a signal source of Dispatch's own is deaf until some time after
/// it was resumed.
@MainActor
final class Signals {
  private static let names = [SIGTERM: "SIGTERM", SIGINT: "SIGINT", SIGHUP: "SIGHUP"]

  private let source: any DispatchSourceRead

  /// From now on, `handle` is called on the main queue with each signal's number and name. There
  /// can be one of these in a process.
  init(_ handle: @escaping @MainActor (Int32, String) -> Void) throws(Failure) {
    let pipe = linux_catch_signals()
    guard pipe >= 0 else {
      throw Failure.last.about("sigaction")
    }
    source = DispatchSource.makeReadSource(fileDescriptor: pipe, queue: .main)
    source.handleOnMain {
      while case let number = linux_next_signal(pipe), number > 0 {
        handle(number, Signals.names[number] ?? "signal \(number)")
      }
    }
    source.resume()
  }
}
