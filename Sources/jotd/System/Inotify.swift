import Dispatch
import Glibc
import Rotation
import Synchronization

/// Notices what happens in folders (inotify(7)). One watch per inode of a folder: whoever watches
/// it once more gets the same.
final class Inotify: Sendable {
  typealias Watch = Int32

  /// Something that happened in a watched folder.
  struct Event {
    /// -1 for what the kernel had no room to tell.
    let watch: Watch
    /// IN_... bits.
    let what: UInt32
    /// The same for both halves of a rename; 0 otherwise.
    let cookie: UInt32
    /// The name in the folder, in bytes; empty for what happened to the folder itself.
    let name: ArraySlice<UInt8>

    func has(_ bits: Int) -> Bool { what & UInt32(truncatingIfNeeded: bits) != 0 }
    /// The folder was removed, moved away or unmounted: it is not at its path any more.
    var isFolderGone: Bool { has(Int(IN_DELETE_SELF) | Int(IN_MOVE_SELF) | Int(IN_UNMOUNT)) }
    var isOverflow: Bool { has(Int(IN_Q_OVERFLOW)) }
    /// The watch is no more.
    var isForgotten: Bool { has(Int(IN_IGNORED)) }
  }

  private struct Telling {
    var source: (any DispatchSourceRead)?
    var hasEnded = false
  }

  private let descriptor: Int32
  private let telling = Mutex(Telling())

  /// Nil when the kernel gives none (`fs.inotify.max_user_instances`).
  init?() {
    descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    guard descriptor >= 0 else { return nil }
  }

  deinit { close(descriptor) }

  /// Watches the folder at `path` for anything that changes what its readers find: what is written
  /// counts when its writer closes it, or with `eachWrite` at once. The path is followed, which can
  /// hang. Throws ENOSPC when `fs.inotify.max_user_watches` are in use.
  func watch(_ path: String, eachWrite: Bool = false) throws(Failure) -> Watch {
    let events =
      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB
      | IN_DELETE_SELF | IN_MOVE_SELF | Int32(IN_ONLYDIR) | (eachWrite ? IN_MODIFY : 0)
    return try result { unsafe inotify_add_watch(descriptor, path, UInt32(events)) }
  }

  /// What had happened there and was not taken yet may still come.
  func forget(_ watch: Watch) { inotify_rm_watch(descriptor, watch) }

  // MARK: Telling

  /// Calls `hear` on `queue` with what happens until `end`, gathered for `Limits.changeGathering`:
  /// much of it belongs together, and a busy folder wakes nobody more often. To be called once.
  func begin(on queue: DispatchQueue, _ hear: @escaping @Sendable ([Event]) -> Void) {
    telling.withLock { telling in
      if telling.hasEnded { return }
      let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
      // By another source each time: one that rests between two events stays in libdispatch's epoll
      // set, for errors, and because the kernel does not say of what it tells the readers of
      // inotify, every change would wake libdispatch's thread. The descriptor is open until the
      // source is done.
      source.setCancelHandler { @Sendable in withExtendedLifetime(self) {} }
      source.setEventHandler { @Sendable in
        self.telling.withLock { $0.source?.cancel() }
        queue.asyncAfter(deadline: .now() + Limits.changeGathering.interval) {
          if self.telling.withLock(\.hasEnded) { return }
          hear(self.take())
          self.begin(on: queue, hear)
        }
      }
      source.activate()
      telling.source = source
    }
  }

  /// Nothing more is told, but for what is being told now. Closes nothing yet.
  func end() {
    telling.withLock { telling in
      telling.hasEnded = true
      telling.source?.cancel()
    }
  }

  /// Takes what happened, in order: not more than the kernel keeps at once, because who writes fast
  /// could go on for ever. What is left makes the descriptor readable again.
  private func take() -> [Event] {
    var events: [Event] = []
    for _ in 0..<Limits.changeReads {
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, count in
        unsafe count = max(0, read(descriptor, buffer.baseAddress!, buffer.count))
      }
      if bytes.isEmpty { break }
      var start = 0
      while start < bytes.count {
        let head = unsafe bytes.withUnsafeBytes {
          unsafe $0.loadUnaligned(fromByteOffset: start, as: inotify_event.self)
        }
        start += MemoryLayout<inotify_event>.size
        // Padded with zeros.
        let name = bytes[start..<start + Int(head.len)].prefix { $0 != 0 }
        start += Int(head.len)
        events.append(Event(watch: head.wd, what: head.mask, cookie: head.cookie, name: name))
      }
    }
    return events
  }
}
