import Rotation

/// Health as a table for people. Colours only on a terminal, bars only on a wide one. Every error
/// stands whole: in its row where there is room, and below it, in lines of the terminal's width,
/// where there is not.
struct StatusTable {
  /// Width of the terminal; nil when the table goes elsewhere.
  let columns: Int?
  /// Lines that there is room for; nil for as many as there are. Where they do not do, what is
  /// wrong comes first.
  var lines: Int?
  let now: Instant

  private static let barWidth = 12
  /// From this width on there is room for bars, and for errors in their rows.
  private static let wide = 100
  private static let titles = ["IDENTITY", "STATE", "REMAINING", "NEXT ROTATION"]
  private static let errorTitle = "LAST ERROR"
  private static let gap = 2

  private struct Row {
    /// As the titles.
    let cells: [String]
    /// What went wrong; nil for nothing.
    let fault: String?

    var state: String { cells[1] }
    var isWell: Bool { state == "fresh" && fault == nil }
  }

  /// The rows of the identities that health tells of, and the notes below.
  func text(_ identities: [JSON.Member], notes: [String]) -> String {
    let rows = identities.map { row(redacted($0.name, upTo: Limits.nameBytes), $0.value) }
    let widths = widths(rows)
    let title = line(StatusTable.titles, widths) + (isNarrow ? "" : StatusTable.errorTitle)
    let head = [columns == nil ? title : "\u{1b}[1m\(title)\u{1b}[0m"]
    let blocks = rows.map { row in
      (isWell: row.isWell, lines: shown(row, widths).map { coloured($0, row) })
    }
    var foot = notes.flatMap { wrapped(redacted($0), first: "! ", rest: "  ") }
    if identities.isEmpty { foot.insert("no identities are configured", at: 0) }
    let all = head + blocks.flatMap(\.lines) + foot
    guard let lines, all.count > lines else { return all.joined(separator: "\n") + "\n" }
    return fitting(head, blocks, foot, lines).joined(separator: "\n") + "\n"
  }

  /// What there is room for: half of it for notes at the most, then what is not well.
  private func fitting(
    _ head: [String], _ blocks: [(isWell: Bool, lines: [String])], _ foot: [String], _ lines: Int
  ) -> [String] {
    let more = "..., the rest by \"jotd status\""
    var foot = foot
    let most = max(2, (lines - 1) / 2)
    if foot.count > most { foot = foot.prefix(most - 1) + ["  " + more] }
    // A line is for what is left out.
    var room = lines - head.count - foot.count - 1
    var chosen: Set<Int> = []
    for isWell in [false, true] {
      for (index, block) in blocks.enumerated() where block.isWell == isWell {
        guard block.lines.count <= room else { break }
        room -= block.lines.count
        chosen.insert(index)
      }
    }
    let left = blocks.indices.filter { !chosen.contains($0) }
    let unwell = left.count { !blocks[$0].isWell }
    let rest =
      unwell == 0
      ? "and \(left.count) more, all fresh" : "and \(left.count) more, \(unwell) not well"
    return head + blocks.indices.filter(chosen.contains).flatMap { blocks[$0].lines }
      + (left.isEmpty ? [] : [rest]) + foot
  }

  private func row(_ name: String, _ known: JSON) -> Row {
    let fault = known["last_error"]?.string.map { redacted($0) }
    let next: String?
    if fault == nil {
      next = time(known["refresh_at"]).map { $0 > now ? "in \(($0 - now).approximate)" : "now" }
    } else {
      // While something fails, what comes next is another try.
      let retry = time(known["retry_at"]).flatMap { $0 > now ? $0 - now : nil }
      next = retry.map { "retry in \($0.approximate)" } ?? "being tried"
    }
    let states = ["fresh", "stale", "expired", "missing"]
    let state = known["state"]?.string.flatMap { states.contains($0) ? $0 : nil }
    return Row(cells: [name, state ?? "-", remaining(known), next ?? "-"], fault: fault)
  }

  private func time(_ value: JSON?) -> Instant? { value?.string.flatMap(Instant.init(rfc3339:)) }

  private var isNarrow: Bool { columns.map { $0 < StatusTable.wide } ?? false }

  /// Of each column, as its longest cell needs; the names have what a terminal leaves them.
  private func widths(_ rows: [Row]) -> [Int] {
    var widths = StatusTable.titles.indices.map { column in
      rows.reduce(StatusTable.titles[column].count) { max($0, $1.cells[column].count) }
    }
    if let columns {
      let error = isNarrow ? 0 : StatusTable.errorTitle.count + StatusTable.gap
      let others = widths.dropFirst().reduce(error) { $0 + $1 + StatusTable.gap }
      widths[0] = min(widths[0], max(8, min(columns - others, columns / 2)))
    }
    return widths
  }

  /// The row's lines: one, or where its error does not fit, more.
  private func shown(_ row: Row, _ widths: [Int]) -> [String] {
    let start = line(row.cells, widths)
    guard let fault = row.fault else { return [isNarrow ? start : start + "-"] }
    guard let columns, isNarrow || start.count + fault.count > columns else {
      return [start + fault]
    }
    return [start] + wrapped(fault, first: "  ", rest: "  ")
  }

  /// Cells beside each other; what is too long is cut.
  private func line(_ cells: [String], _ widths: [Int]) -> String {
    let padded = zip(cells, widths).map { cell, width in
      let cell = cell.count > width ? cell.prefix(width - 1) + "…" : cell[...]
      return cell + String(repeating: " ", count: width - cell.count)
    }
    let line = padded.joined(separator: String(repeating: " ", count: StatusTable.gap))
    return isNarrow ? line : line + String(repeating: " ", count: StatusTable.gap)
  }

  private func coloured(_ line: String, _ row: Row) -> String {
    guard columns != nil else { return line }
    switch row.state {
    case "fresh": return row.fault == nil ? line : "\u{1b}[33m\(line)\u{1b}[0m"
    case "stale": return "\u{1b}[33m\(line)\u{1b}[0m"
    default: return "\u{1b}[31m\(line)\u{1b}[0m"
    }
  }

  /// The time that the token in use has left, behind a bar for the part of its life that this is.
  private func remaining(_ known: JSON) -> String {
    guard let end = time(known["in_use"]?["expires_at"] ?? known["expires_at"]) else { return "-" }
    guard end > now else { return "\((now - end).approximate) ago" }
    let left = (end - now).approximate
    guard columns != nil, !isNarrow else { return left }
    // The newest token has the life that the one in use had, but for a change of the configuration.
    let newest = (time(known["newest"]?["issued_at"]), time(known["newest"]?["expires_at"]))
    guard case (let issued?, let last?) = newest else { return left }
    let life = Double(max(1, (last - issued).microseconds))
    let part = min(1, Double((end - now).microseconds) / life)
    let full = max(1, Int((part * Double(StatusTable.barWidth)).rounded()))
    return String(repeating: "█", count: full)
      + String(repeating: "░", count: StatusTable.barWidth - full) + " " + left
  }

  /// A text in lines of the terminal's width, broken between words where that is possible.
  private func wrapped(_ text: String, first: String, rest: String) -> [String] {
    guard let columns else { return [first + text] }
    let room = max(1, columns - max(first.count, rest.count))
    var lines: [String] = []
    var left = Substring(text)
    while left.count > room {
      let line = left.prefix(room + 1)
      let end = line.lastIndex(of: " ") ?? line.index(before: line.endIndex)
      lines.append(String(left[..<end]))
      left = left[end...].drop { $0 == " " }
    }
    lines.append(String(left))
    return lines.enumerated().map { ($0 == 0 ? first : rest) + $1 }
  }
}
