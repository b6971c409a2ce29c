import CSystemd
import Glibc
import Rotation

/// Where log entries go: journald, by its native protocol (sd_journal_sendv(3)), when standard
/// error is connected to it, and readable lines on standard error otherwise.
///
/// Entries go through an outbox, because neither a journald that does not read nor a blocked
/// terminal may delay a rotation.
final class Journal: Sendable {
  /// What is to be written.
  private enum Item: Sendable {
    case event(Event)
    case entry(JournalEntry)
  }

  private enum Target {
    case journald
    case lines(isTerminal: Bool)
  }

  private let target: Target
  private let outbox: Outbox<Item>

  /// Whether entries go to journald.
  var isJournald: Bool { if case .journald = target { true } else { false } }

  /// Looks at standard error to choose the target.
  init() {
    let target = Journal.isConnected ? Target.journald : .lines(isTerminal: isatty(2) == 1)
    self.target = target
    outbox = Outbox(
      Outbox.Bounds(
        burst: Limits.journalBurst, stuck: Limits.journalBacklog, atOnce: Limits.linesAtOnce),
      tell: { items, begin in
        Journal.put(
          items.map { item in
            switch item {
            case .event(let event): JournalEntry(event)
            case .entry(let entry): entry
            }
          }, target, begin)
      },
      overflow: { dropped in
        let text = "\(dropped) journal entries were dropped: the journal did not read"
        Journal.put([JournalEntry(.warning, text)], target) {}
      })
  }

  /// Writes the entry of an event, soon. The entry is made in its turn: whoever reports does not
  /// wait for it, and what is dropped costs nothing.
  func report(_ event: Event) { report([event]) }

  /// The same for several, in their order.
  func report(_ events: [Event]) { outbox.put(events.map(Item.event)) }

  /// Writes an entry, soon.
  func write(_ entry: JournalEntry) { outbox.put([.entry(entry)]) }

  /// Waits until all entries are written, or for `limit`.
  func flush(within limit: Duration) { outbox.flush(within: limit) }

  /// Calls `begin` before each write.
  private static func put(
    _ entries: [JournalEntry], _ target: Target, _ begin: () -> Void
  ) {
    switch target {
    case .journald:
      for entry in entries {
        begin()
        send(
          [
            ("MESSAGE", entry.message), ("PRIORITY", String(entry.priority.rawValue)),
            ("SYSLOG_IDENTIFIER", "jotd"),
          ] + entry.fields)
      }
    case .lines(let isTerminal):
      let now = Instant.now.rfc3339
      var lines = ""
      for entry in entries {
        let next = line(entry, now, isTerminal)
        // Others may write to the same pipe: so much stays together.
        if !lines.isEmpty, lines.utf8.count + next.utf8.count > Limits.pipeBytes {
          begin()
          writeToStandardError(lines)
          lines = ""
        }
        lines += next
      }
      begin()
      writeToStandardError(lines)
    }
  }

  private static func line(_ entry: JournalEntry, _ now: String, _ isTerminal: Bool) -> String {
    let mark = entry.priority <= .warning ? "\(entry.priority): " : ""
    let isColored = isTerminal && entry.priority <= .warning
    let color = isColored ? (entry.priority <= .error ? "\u{1b}[31m" : "\u{1b}[33m") : ""
    let end = isColored ? "\u{1b}[0m\n" : "\n"
    return joined(color, now, " ", mark, redacted(entry.message), end)
  }

  private static func send(_ fields: [(name: String, value: String)]) {
    let bytes = fields.map { Array("\($0.name)=\(redacted($0.value))".utf8) }
    var vectors: [iovec] = unsafe []
    unsafe vectors.reserveCapacity(bytes.count)
    // One array holds all bytes, so that every vector points into what lives until the call ends.
    let joined = bytes.flatMap(\.self)
    unsafe joined.withUnsafeBytes { buffer in
      var start = 0
      for field in bytes {
        unsafe vectors.append(
          iovec(
            iov_base: UnsafeMutableRawPointer(mutating: buffer.baseAddress! + start),
            iov_len: field.count))
        start += field.count
      }
      _ = unsafe sd_journal_sendv(vectors, Int32(vectors.count))
    }
  }

  /// Whether standard error is the stream that systemd connected to the journal
  /// (systemd.exec(5), JOURNAL_STREAM).
  private static var isConnected: Bool {
    guard let stream = Environment["JOURNAL_STREAM"] else { return false }
    var found = stat()
    guard unsafe fstat(2, &found) == 0 else { return false }
    return stream == "\(found.st_dev):\(found.st_ino)"
  }
}
