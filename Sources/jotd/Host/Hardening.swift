import CLinux
import Glibc

/// What jotd does to itself before it touches a secret.
enum Hardening {
  /// No core files and no debugger of the same user, memory that is not swapped where the limits
  /// allow it, and writing to a closed pipe an error instead of the end.
  static func apply() {
    _ = linux_forbid_core_files()
    _ = linux_lock_memory()
    signal(SIGPIPE, SIG_IGN)
    umask(0o077)
  }

  /// Lets jotd have as many connections as its limits say, as far as the host allows.
  static func raiseFileLimit() { linux_raise_file_limit() }

  /// Keeps memory from growing with the threads that once delivered.
  static func boundMemory() { linux_bound_heaps() }

  /// Whether jotd may give files to other users and groups.
  static var mayChangeOwner: Bool { linux_may_chown() }

  /// Gives back to the kernel what reading a large configuration took.
  static func trimMemory() { linux_trim_heap() }
}
