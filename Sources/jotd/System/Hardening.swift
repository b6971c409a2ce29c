import CLinux
import Dispatch
import Glibc
import Rotation
import Synchronization

/// What jotd does to itself before it touches a secret.
enum Hardening {
  /// No core files, no debugger of the same user, memory that is not swapped where RLIMIT_MEMLOCK
  /// sets no bound, SIGPIPE ignored, so that writing to a closed pipe is an error, and umask 077.
  static func apply() {
    _ = linux_forbid_core_files()
    _ = linux_lock_memory()
    signal(SIGPIPE, SIG_IGN)
    umask(0o077)
  }

  /// Keeps files and sockets from becoming standard input, output or error where these are closed:
  /// a log line would be written into what has their number. To be called before anything is
  /// opened.
  static func occupyStandardDescriptors() { linux_occupy_standard_descriptors() }

  /// Lets jotd have as many connections as its limits say, as far as the host allows.
  static func raiseFileLimit() { linux_raise_file_limit() }

  /// Keeps memory from growing with the threads that once delivered.
  static func boundMemory() { linux_bound_heaps() }

  /// Whether jotd may give files to other users and groups.
  static var mayChangeOwner: Bool { linux_may_chown() }

  /// Gives back to the kernel what reading a large configuration took.
  static func trimMemory() { linux_trim_heap() }

  /// Gives back what a crowd of callers took, a moment later and on a queue of its own. May be
  /// called on any thread, and often: it is done once.
  static func trimMemorySoon() {
    guard !isTrimPlanned.exchange(true, ordering: .relaxed) else { return }
    trimming.asyncAfter(deadline: .now() + Limits.calm.interval) {
      isTrimPlanned.store(false, ordering: .relaxed)
      linux_trim_heap()
    }
  }

  private static let trimming = DispatchQueue(label: "jotd.memory")
  private static let isTrimPlanned = Atomic(false)

  /// How many descriptors jotd may have open (getrlimit(2), RLIMIT_NOFILE).
  static var fileLimit: Int { Int(linux_file_limit()) }
}
