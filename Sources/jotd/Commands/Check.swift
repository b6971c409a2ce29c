import ArgumentParser

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
      // What the document gets wrong comes first; deliveries are tried once it is right.
      if findings.errors.isEmpty {
        HostInspection.inspectDeliveries(settings, findings)
      } else {
        HostInspection.inspectTrust(settings, findings)
      }
      inspectSecret(settings.signing, findings)
    }
    for warning in findings.warnings.sorted() { writeToStandardError("\(warning) (warning)\n") }
    guard findings.errors.isEmpty, let settings else {
      writeToStandardError(Preparation.Refused(errors: findings.errors).description + "\n")
      throw ExitCode.configuration
    }
    printLine(
      "\(config.pathOrStandard): all is well, \(counted(settings.identities.count, "identity")) and "
        + counted(settings.deliveryPlaces.count, "delivery"))
  }

  private func inspectSecret(_ signing: SigningSettings, _ findings: Findings) {
    if SecretReader(signing: signing).isOutOfReach {
      findings.warn(
        signing.place, "\(signing.source) is there only inside the service: it was not checked")
    } else {
      _ = HostInspection.inspectSecret(signing, findings)
    }
  }
}
