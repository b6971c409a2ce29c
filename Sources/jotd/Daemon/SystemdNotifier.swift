import CLinux
import CSystemd
import Dispatch
import Glibc
import Rotation

/// Tells systemd how the service stands (sd_notify(3)). Says nothing when not started by it.
@MainActor
final class SystemdNotifier {
  private var lastStatus = ""
  private let outbox = Outbox<String>(
    Outbox.Bounds(burst: Limits.notifyBacklog, stuck: Limits.notifyBacklog, atOnce: 1)
  ) { messages, _ in for message in messages { unsafe sd_notify(0, message) } }
  private var watchdog: (any DispatchSourceTimer)?

  /// One line that `systemctl status` shows, with the first of the reasons for which the last
  /// reload was refused; sent only when it changed.
  func status(_ text: String, refusedReload: String?) {
    var text = text
    if let reason = refusedReload?.split(separator: "\n").first {
      text += "; the last reload was refused: \(redacted("\(reason)", upTo: Limits.statusReason))"
    }
    guard text != lastStatus else { return }
    lastStatus = text
    notify("STATUS=\(text)")
  }

  func ready() { notify("READY=1") }

  func reloading() {
    notify("RELOADING=1\nMONOTONIC_USEC=\(linux_clock(CLOCK_MONOTONIC) / 1000)")
  }

  func stopping() { notify("STOPPING=1") }

  /// Sends WATCHDOG=1 at half the interval that WATCHDOG_USEC asks for, from the main queue, where
  /// rotations run: if that hangs, systemd notices. No timer without WATCHDOG_USEC.
  func keepWatchdog() {
    var interval: UInt64 = 0
    guard unsafe sd_watchdog_enabled(0, &interval) > 0 else { return }
    let timer = DispatchSource.makeTimerSource(queue: .main)
    // An interval that nobody can keep is no reason to do nothing else.
    let half = DispatchTimeInterval.microseconds(max(1_000, Int(interval / 2)))
    timer.schedule(deadline: .now() + half, repeating: half)
    timer.handleOnMain { self.notify("WATCHDOG=1") }
    timer.resume()
    watchdog = timer
  }

  private func notify(_ text: String) { outbox.put([text]) }

  /// Waits until all is told, or for `limit`.
  func flush(within limit: Duration) { outbox.flush(within: limit) }
}
