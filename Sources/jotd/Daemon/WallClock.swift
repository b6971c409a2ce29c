import CLinux
import Dispatch
import Glibc
import Rotation

/// The wall clock, and the one timer that jotd sleeps on: a timerfd_create(2) on CLOCK_REALTIME
/// under a Dispatch source. Armed with TFD_TIMER_CANCEL_ON_SET, so it also ends when the clock is
/// set, forward or back, and when the machine resumes from sleep.
@MainActor
final class WallClock {
  /// How much the clock was set by; nil when the timer just ran out.
  typealias Handler = @MainActor (_ step: Duration?) -> Void

  private let timer: Int32
  private let source: any DispatchSourceRead
  private var offset: Duration

  /// `wake` is called on the main queue whenever the timer ends.
  init(wake: @escaping Handler) throws(Failure) {
    timer = linux_timerfd_create()
    guard timer >= 0 else {
      throw Failure.last.about("timerfd_create")
    }
    source = DispatchSource.makeReadSource(fileDescriptor: timer, queue: .main)
    offset = WallClock.offset
    source.handleOnMain {
      var expirations: UInt64 = 0
      let count = unsafe read(self.timer, &expirations, 8)
      if count < 0, errno == ECANCELED {
        wake(self.takeStep())
      } else if count > 0 {
        // The clock drifts and is slewed: what counts is the step.
        _ = self.takeStep()
        wake(nil)
      }
    }
    source.resume()
  }

  /// Sets the timer to end at `next`, or in ten years to notice the clock being set. Returns how
  /// much the clock was set by when it was since the timer was last armed: then look again. Throws
  /// when the timer cannot be set, and nobody would ever be woken.
  func arm(_ next: Instant?) throws(Failure) -> Duration? {
    let end = next ?? .now + Limits.longestLifetime
    let seconds = max(0, end.wholeSeconds)
    let rest = end.microseconds - seconds * 1_000_000
    // A time of zero would disarm the timer.
    guard linux_timerfd_arm(timer, seconds, max(1, Int(rest) * 1000)) < 0 else { return nil }
    let error = Failure.last
    guard error.code == ECANCELED else {
      throw error.about("timerfd_settime")
    }
    return takeStep()
  }

  private func takeStep() -> Duration {
    let before = offset
    offset = WallClock.offset
    return offset - before
  }

  /// What the wall clock is ahead of the clock that cannot be set and counts sleep.
  /// Taken between two looks at the latter, and the best of a few: the thread can be kept waiting
  /// in between.
  private static var offset: Duration {
    let looks = (0..<4).map { _ in
      let before = linux_clock(CLOCK_BOOTTIME)
      let wall = linux_clock(CLOCK_REALTIME)
      let after = linux_clock(CLOCK_BOOTTIME)
      return (gap: after - before, offset: wall - before)
    }
    return .nanoseconds(looks.min { $0.gap < $1.gap }?.offset ?? 0)
  }
}

extension Instant {
  /// The wall clock's time now.
  static var now: Instant { Instant(microseconds: linux_clock(CLOCK_REALTIME) / 1000) }
}

extension KeyRing.Moment {
  /// The present.
  static var now: KeyRing.Moment {
    KeyRing.Moment(wall: .now, sinceBoot: .microseconds(linux_clock(CLOCK_BOOTTIME) / 1_000))
  }
}

extension Instant {
  /// When the kernel began, in seconds since 1970: what proc(5) counts ticks from.
  static var systemStart: Double {
    Double(linux_clock(CLOCK_REALTIME) - linux_clock(CLOCK_BOOTTIME)) / 1e9
  }
}
