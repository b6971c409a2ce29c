import Glibc
import Rotation

/// The metrics page, in Prometheus' text format (exposition format 0.0.4).
struct Metrics {
  private(set) var text = ""

  init(_ store: StatusStore, at now: Instant) {
    let statuses = store.all
    let general = store.general
    gauge("jotd_identities", "Identities that are kept fresh.", [("", Double(statuses.count))])
    gauge(
      "jotd_token_expiry_timestamp_seconds",
      "When the oldest token that is in use ends; 0 when there is none.",
      statuses.map {
        (label($0), $0.isMissing ? 0 : Double($0.oldestExpiry?.microseconds ?? 0) / 1e6)
      })
    gauge(
      "jotd_token_refresh_timestamp_seconds", "When the token is due to be replaced.",
      statuses.map { (label($0), Double($0.refreshAt?.microseconds ?? 0) / 1e6) })
    gauge(
      "jotd_identity_state", "1 for the state that the identity is in.",
      statuses.flatMap { status in
        [Freshness.fresh, .stale, .expired, .missing].map { state in
          (label(status, ("state", "\(state)")), status.freshness(at: now) == state ? 1 : 0)
        }
      })
    results("jotd_tokens_issued_total", "Tokens minted, by result.", statuses) {
      ($0.issued, $0.issueFailures)
    }
    results("jotd_deliveries_total", "Deliveries tried, by result.", statuses) {
      ($0.delivered, $0.deliveryFailures)
    }
    gauge(
      "jotd_jwks_current", "1 while the JWK Set of a key is at all its places.",
      general.publications.map { ("{key=\"\($0.key)\"}", $0.failures.isEmpty ? 1 : 0) })
    let entries = general.rings.flatMap { ring in ring.members.map { (ring.key, $0.member) } }
    gauge(
      "jotd_key_state", "1 for the state that a key of a ring is in.",
      entries.map { key, member in
        ("{key=\"\(key)\",kid=\"\(member.kid)\",state=\"\(member.state.rawValue)\"}", 1)
      })
    gauge(
      "jotd_key_activated_timestamp_seconds", "Since when the key that signs does so.",
      entries.compactMap { key, member in
        guard member.state == .active, let since = member.activated else { return nil }
        return ("{key=\"\(key)\"}", Double(since.wall.microseconds) / 1e6)
      })
    gauge(
      "jotd_key_rotation_timestamp_seconds", "When the next key is to sign; 0 for never.",
      general.rings.map {
        ("{key=\"\($0.key)\"}", Double($0.rotation?.microseconds ?? 0) / 1e6)
      })
    counter(
      "jotd_reloads_total", "Reloads of the configuration, by result.",
      [
        ("{result=\"success\"}", Double(general.reloads)),
        ("{result=\"failure\"}", Double(general.refusedReloads)),
      ])
    lateness(general.lateness)
    process()
  }

  // MARK: Families

  private mutating func family(
    _ name: String, _ type: String, _ help: String, _ samples: [(labels: String, value: Double)]
  ) {
    guard !samples.isEmpty else { return }
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    for sample in samples { text += "\(name)\(sample.labels) \(number(sample.value))\n" }
  }

  private mutating func gauge(_ name: String, _ help: String, _ samples: [(String, Double)]) {
    family(name, "gauge", help, samples)
  }

  private mutating func counter(_ name: String, _ help: String, _ samples: [(String, Double)]) {
    family(name, "counter", help, samples)
  }

  private mutating func results(
    _ name: String, _ help: String, _ statuses: [IdentityStatus],
    _ counts: (IdentityStatus.Counts) -> (success: Int, failure: Int)
  ) {
    counter(
      name, help,
      statuses.flatMap { status in
        let count = counts(status.counts)
        return [
          (label(status, ("result", "success")), Double(count.success)),
          (label(status, ("result", "failure")), Double(count.failure)),
        ]
      })
  }

  private mutating func lateness(_ lateness: Lateness) {
    let name = "jotd_rotation_lateness_seconds"
    text += "# HELP \(name) How long after they were due rotations began.\n"
    text += "# TYPE \(name) histogram\n"
    var sum = 0
    for (bound, count) in zip(Lateness.bounds + [.infinity], lateness.counts) {
      sum += count
      let shown = bound == .infinity ? "+Inf" : number(bound)
      text += "\(name)_bucket{le=\"\(shown)\"} \(sum)\n"
    }
    text += "\(name)_sum \(number(lateness.sum))\n\(name)_count \(sum)\n"
  }

  /// The gauges that every Prometheus client library offers, from proc(5).
  private mutating func process() {
    guard let fields = FileSystem.status(ofProcess: "self"), fields.count > 22,
      let user = Double(fields[12]), let system = Double(fields[13]),
      let began = Double(fields[20]), let size = Double(fields[21]), let pages = Double(fields[22])
    else { return }
    let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
    counter(
      "process_cpu_seconds_total", "Processor time used.", [("", (user + system) / ticks)])
    gauge("process_virtual_memory_bytes", "Virtual memory.", [("", size)])
    gauge(
      "process_resident_memory_bytes", "Resident memory.",
      [("", pages * Double(sysconf(Int32(_SC_PAGESIZE))))])
    gauge(
      "process_start_time_seconds", "When the process began, since 1970.",
      [("", Instant.systemStart + began / ticks)])
    if let open = try? FileSystem.names(in: "/proc/self/fd") {
      gauge("process_open_fds", "Open file descriptors.", [("", Double(open.count))])
    }
  }

  // MARK: Text

  /// Names of identities need no escapes: their rule allows no such character.
  private func label(_ status: IdentityStatus, _ other: (name: String, value: String)? = nil)
    -> String
  {
    let more = other.map { ",\($0.name)=\"\($0.value)\"" } ?? ""
    return "{identity=\"\(status.identity.name)\"\(more)}"
  }

  private func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
  }
}
