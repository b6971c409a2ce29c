import ArgumentParser
import Rotation

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say all that is wrong with the configuration and with the host.",
    discussion: """
      Reads the configuration as run does, and looks at the secret, the users and the folders on \
      this host, with the permissions of the user who calls it. Exits with 78 when anything is \
      wrong, with 0 otherwise.
      """)

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    Hardening.apply()
    let findings = Findings()
    let settings = Configuration.load(config.pathOrStandard, findings)
    if let settings {
      HostInspection.inspectDeliveries(settings, findings)
      inspectSecret(settings, findings)
    }
    for warning in findings.warnings.sorted() { writeToStandardError("\(warning) (warning)\n") }
    guard findings.errors.isEmpty, let settings else {
      writeToStandardError(Preparation.Refused(errors: findings.errors).description + "\n")
      throw ExitCode.configuration
    }
    let files = settings.deliveryPlaces.count
    printLine(
      "\(config.pathOrStandard): all is well: \(settings.identities.count) identities, "
        + "\(files) deliveries")
  }

  private func inspectSecret(_ settings: Settings, _ findings: Findings) {
    let reader = SecretReader(signing: settings.signing)
    guard !reader.isOutOfReach else {
      findings.warn(
        settings.signing.place,
        "\(settings.signing.source) is there only inside the service: it was not checked")
      return
    }
    do throws(Failure) {
      for warning in try reader.signer().warnings { findings.warn(settings.signing.place, warning) }
    } catch {
      findings.error(settings.signing.place, error.description)
    }
  }
}
