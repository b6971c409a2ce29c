import CLinux
import CSystemd
import Dispatch
import Glibc
import Rotation

/// Tells systemd how the service stands (sd_notify(3)). Says nothing when not started by it.
@MainActor
final class ServiceManager {
  private var lastStatus = ""
  private var watchdog: (any DispatchSourceTimer)?

  /// One line that `systemctl status` shows; sent only when it changed.
  func status(_ text: String) {
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
    let half = DispatchTimeInterval.microseconds(Int(interval / 2))
    timer.schedule(deadline: .now() + half, repeating: half)
    timer.setEventHandler { [weak self] in MainActor.assumeIsolated { self?.notify("WATCHDOG=1") } }
    timer.resume()
    watchdog = timer
  }

  private func notify(_ text: String) { unsafe sd_notify(0, text) }
}
