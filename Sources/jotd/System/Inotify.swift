import Dispatch
import Glibc
import Rotation
import Synchronization

/// Notices what happens in folders (inotify(7)), for all of jotd's parts that want to know: by one
/// instance, because the kernel gives the programs of a user 128 of them. There is one watch for an
/// inode, whoever watches it and by whichever path.
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
    /// Something was written, and may go on.
    var isWrite: Bool { has(Int(IN_MODIFY)) }
    var isOverflow: Bool { has(Int(IN_Q_OVERFLOW)) }
    /// The watch is no more.
    var isForgotten: Bool { has(Int(IN_IGNORED)) }
  }

  /// A part of jotd that is told what happens in folders of its own.
  struct Listener {
    fileprivate let number: Int
    fileprivate let hearsEachWrite: Bool
  }

  private struct Ear {
    let hearsEachWrite: Bool
    var watches: Set<Watch> = []
    var hear: @Sendable ([Event]) -> Void = { _ in }
  }

  private struct State {
    var ears: [Int: Ear] = [:]
    var lastNumber = 0
    var source: (any DispatchSourceRead)?
  }

  /// Where listeners are told.
  let queue = DispatchQueue(label: "jotd.changes")
  private let descriptor: Int32
  private let state = Mutex(State())

  /// Nil when the kernel gives none (`fs.inotify.max_user_instances`). It is there as long as the
  /// process is.
  init?() {
    descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    guard descriptor >= 0 else { return nil }
    begin()
  }

  /// What is written counts for it when its writer closes it, or with `hearsEachWrite` at once.
  func makeListener(hearsEachWrite: Bool = false) -> Listener {
    state.withLock { state in
      state.lastNumber += 1
      state.ears[state.lastNumber] = Ear(hearsEachWrite: hearsEachWrite)
      return Listener(number: state.lastNumber, hearsEachWrite: hearsEachWrite)
    }
  }

  /// Calls `hear` on `queue`, where nothing may hang, with what happens in the folders that the
  /// listener watches, gathered for `Limits.changeGathering`: much of it belongs together, and a
  /// busy folder wakes nobody more often. Until `end`.
  func listen(_ listener: Listener, _ hear: @escaping @Sendable ([Event]) -> Void) {
    state.withLock { $0.ears[listener.number]?.hear = hear }
  }

  /// Nothing more is told to this listener, but for what is being told now.
  func end(_ listener: Listener) {
    state.withLock { state in
      for watch in state.ears[listener.number]?.watches ?? [] { forget(watch, listener, &state) }
      state.ears[listener.number] = nil
    }
  }

  /// Watches the folder at `path` for anything that changes what its readers find. The path is
  /// followed, which can hang. Throws ENOSPC when `fs.inotify.max_user_watches` are in use.
  func watch(_ path: String, _ listener: Listener) throws(Failure) -> Watch {
    // Others may watch it too, for more or for less.
    let events =
      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB
      | IN_DELETE_SELF | IN_MOVE_SELF | Int32(IN_ONLYDIR | IN_MASK_ADD)
      | (listener.hearsEachWrite ? IN_MODIFY : 0)
    let watch = try result { unsafe inotify_add_watch(descriptor, path, UInt32(events)) }
    // Where the last of the others forgets it at this moment, this one is told so, unless its
    // thread stands still for as long as changes are gathered: then the next look or write watches
    // anew.
    state.withLock { _ = $0.ears[listener.number]?.watches.insert(watch) }
    return watch
  }

  /// What had happened there and was not taken yet is not told any more.
  func forget(_ watch: Watch, _ listener: Listener) {
    state.withLock { forget(watch, listener, &$0) }
  }

  private func forget(_ watch: Watch, _ listener: Listener, _ state: inout State) {
    guard state.ears[listener.number]?.watches.remove(watch) != nil else { return }
    if state.ears.values.contains(where: { $0.watches.contains(watch) }) { return }
    inotify_rm_watch(descriptor, watch)
  }

  // MARK: Telling

  private func begin() {
    state.withLock { state in
      let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
      // By another source each time: one that rests between two events stays in libdispatch's epoll
      // set, for errors, and because the kernel does not say of what it tells the readers of
      // inotify, every change would wake libdispatch's thread.
      source.setEventHandler { @Sendable in
        self.state.withLock { $0.source?.cancel() }
        self.queue.asyncAfter(deadline: .now() + Limits.changeGathering.interval) {
          self.tell(self.take())
          self.begin()
        }
      }
      source.activate()
      state.source = source
    }
  }

  private func tell(_ events: [Event]) {
    let told = state.withLock { state in
      let ears = state.ears.values.map { ear in
        let heard = events.filter {
          $0.isOverflow || ear.watches.contains($0.watch) && (ear.hearsEachWrite || !$0.isWrite)
        }
        return (ear.hear, heard)
      }
      for event in events where event.isForgotten {
        for number in state.ears.keys { state.ears[number]?.watches.remove(event.watch) }
      }
      return ears
    }
    for (hear, heard) in told where !heard.isEmpty { hear(heard) }
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
