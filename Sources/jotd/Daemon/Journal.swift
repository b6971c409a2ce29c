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
      Outbox.Bounds(burst: Limits.journalBurst, stuck: Limits.journalBacklog),
      tell: { item in
        switch item {
        case .event(let event): Journal.put(JournalEntry(event), target)
        case .entry(let entry): Journal.put(entry, target)
        }
      },
      overflow: { dropped in
        Journal.put(
          JournalEntry(
            .warning, "\(dropped) journal entries were dropped: the journal did not read"),
          target)
      })
  }

  /// Writes the entry of an event, soon. The entry is made in its turn: whoever reports does not
  /// wait for it, and what is dropped costs nothing.
  func report(_ event: Event) { outbox.put(.event(event)) }

  /// Writes an entry, soon.
  func write(_ entry: JournalEntry) { outbox.put(.entry(entry)) }

  /// Waits until all entries are written, or for `limit`.
  func flush(within limit: Duration) { outbox.flush(within: limit) }

  private static func put(_ entry: JournalEntry, _ target: Target) {
    switch target {
    case .journald:
      send(
        [
          ("MESSAGE", entry.message), ("PRIORITY", String(entry.priority.rawValue)),
          ("SYSLOG_IDENTIFIER", "jotd"),
        ] + entry.fields)
    case .lines(let isTerminal):
      let mark = entry.priority <= .warning ? "\(entry.priority): " : ""
      var line = joined(Instant.now.rfc3339, " ", mark, redacted(entry.message), "\n")
      if isTerminal, entry.priority <= .warning {
        let color = entry.priority <= .error ? "\u{1b}[31m" : "\u{1b}[33m"
        line = color + line.dropLast() + "\u{1b}[0m\n"
      }
      writeToStandardError(line)
    }
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
