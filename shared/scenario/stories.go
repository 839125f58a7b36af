package scenario

import (
	"fmt"

	"github.com/auroramesh/auroramesh/shared/federation"
)

var c2Beacon = Scenario{
	Name: "c2-beacon", Summary: "A workstation runs a dropped loader, which then calls its command server at a steady beat.",
	steps: []step{
		{federation.Medium, "edr", "Script interpreter started by an office document", []string{"T1059.001", "T1204.002"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("WINWORD.EXE on %s started powershell.exe with an encoded command for %s.", c.host, c.user), []string{c.host, c.hostIP},
				iocs("sha256", c.sha256, "file_path", `C:\Users\`+c.user+`\AppData\Local\Temp\inv-`+c.id+`.docm`),
				fmt.Sprintf(`{"process":"powershell.exe","parent":"WINWORD.EXE","user":%q,"args":"-nop -w hidden -enc ..."}`, c.user),
			}
		}},
		{federation.Critical, "ndr", "Command and control beacon over HTTPS", []string{"T1071.001", "T1573.002"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("%s calls %s (%s) every 60 s with a jitter under 5 %%: %d calls in the last day, all of one size.", c.host, c.domain, c.attacker, c.count), []string{c.host, c.hostIP},
				iocs("ip", c.attacker, "domain", c.domain, "url", "https://"+c.domain+"/api/v2/"+c.id, "sha256", c.sha256),
				fmt.Sprintf(`{"src":%q,"dst":%q,"sni":%q,"dport":443,"interval_s":60,"jitter":0.04}`, c.hostIP, c.attacker, c.domain),
			}
		}},
		{federation.High, "edr", "Persistence by a run key for an unsigned program", []string{"T1547.001"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("An unsigned program on %s wrote itself into the run key of %s.", c.host, c.user), []string{c.host},
				iocs("registry_key", `HKCU\Software\Microsoft\Windows\CurrentVersion\Run\Sync`+c.id, "sha256", c.sha256, "md5", c.md5),
				fmt.Sprintf(`{"event":"registry_set","host":%q,"image":"sync%s.exe"}`, c.host, c.id),
			}
		}},
		{federation.Low, "dns", "Lookups of a domain first seen today", []string{"T1568"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("%s looked up %s, which nobody here had asked for before.", c.host, c.domain), []string{c.host, c.hostIP},
				iocs("domain", c.domain), fmt.Sprintf(`{"client":%q,"rrname":%q,"rrtype":"A","answer":%q}`, c.hostIP, c.domain, c.attacker),
			}
		}},
	},
}

var ransomware = Scenario{
	Name: "ransomware", Summary: "A file server is encrypted after its backups have been deleted.",
	steps: []step{
		{federation.Medium, "edr", "Unsigned remote access tool installed on a server", []string{"T1219"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("A remote access tool without a signature was installed on %s by %s.", c.server, c.user), []string{c.server, c.serverIP},
				iocs("sha256", c.tool, "domain", c.domain), fmt.Sprintf(`{"event":"service_install","host":%q,"user":%q,"service":"rmm-%s"}`, c.server, c.user, c.id),
			}
		}},
		{federation.High, "edr", "Security software switched off", []string{"T1562.001"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("Real-time protection on %s was switched off by a process that %s started.", c.server, c.user), []string{c.server},
				iocs("sha256", c.tool, "mutex", `Global\lck-`+c.id), fmt.Sprintf(`{"event":"tamper","host":%q,"actor":%q}`, c.server, c.user),
			}
		}},
		{federation.High, "edr", "Volume shadow copies deleted", []string{"T1490"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("vssadmin on %s deleted every shadow copy.", c.server), []string{c.server, c.serverIP},
				iocs("sha256", c.sha256, "sha1", c.sha1), fmt.Sprintf(`{"host":%q,"cmd":"vssadmin delete shadows /all /quiet"}`, c.server),
			}
		}},
		{federation.Critical, "edr", "Mass encryption of files on a server", []string{"T1486"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("One process on %s rewrote %d files in four minutes and gave each the ending .%s.", c.server, c.count*10, c.id), []string{c.server, c.serverIP, c.host},
				iocs("sha256", c.sha256, "md5", c.md5, "mutex", `Global\lck-`+c.id, "file_path", `C:\ProgramData\`+c.id+`.exe`),
				fmt.Sprintf(`{"host":%q,"renamed":%d,"extension":".%s","entropy":7.98}`, c.server, c.count*10, c.id),
			}
		}},
		{federation.Critical, "edr", "Ransom note dropped on shared folders", []string{"T1486", "T1491.001"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("The same text file, which names %s, appeared in every share of %s.", "restore-"+c.id+"@"+c.lure, c.server), []string{c.server},
				iocs("email", "restore-"+c.id+"@"+c.lure, "sha256", c.sha256), fmt.Sprintf(`{"host":%q,"file":"RESTORE-%s.txt"}`, c.server, c.id),
			}
		}},
	},
}

var lateralMovement = Scenario{
	Name: "lateral-movement", Summary: "Stolen credentials carry an intruder from a workstation to a domain controller.",
	steps: []step{
		{federation.High, "edr", "Memory of the credential store read", []string{"T1003.001"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("A process without a signature on %s opened lsass.exe to read its memory.", c.host), []string{c.host, c.hostIP},
				iocs("sha256", c.tool, "file_path", `C:\Windows\Temp\`+c.id+`.exe`), fmt.Sprintf(`{"host":%q,"target":"lsass.exe","access":"0x1410"}`, c.host),
			}
		}},
		{federation.Low, "ndr", "Many hosts of one network contacted by a workstation", []string{"T1018", "T1046"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("%s tried ports 135, 445 and 3389 of %d hosts in two minutes.", c.host, c.count%200+30), []string{c.host, c.hostIP},
				iocs("sha256", c.tool), fmt.Sprintf(`{"src":%q,"ports":[135,445,3389]}`, c.hostIP),
			}
		}},
		{federation.High, "siem", "Pass-the-hash logon to a server", []string{"T1550.002", "T1021.002"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("%s logged on to %s from %s with an NTLM hash, for the first time.", c.user, c.server, c.host), []string{c.server, c.serverIP, c.host},
				iocs("sha256", c.tool, "mutex", "svc-"+c.id), fmt.Sprintf(`{"event_id":4624,"logon_type":3,"package":"NTLM","user":%q,"src":%q}`, c.user, c.hostIP),
			}
		}},
		{federation.Medium, "edr", "Service created from a remote host", []string{"T1569.002", "T1543.003"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("%s created the service svc-%s on %s and started it.", c.host, c.id, c.server), []string{c.server, c.host},
				iocs("sha256", c.sha256, "file_path", `C:\Windows\svc-`+c.id+`.exe`), fmt.Sprintf(`{"event_id":7045,"service":"svc-%s","host":%q}`, c.id, c.server),
			}
		}},
		{federation.Critical, "siem", "Directory replication requested by a host that is no domain controller", []string{"T1003.006"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("%s asked a domain controller for every password hash, as %s.", c.host, c.colleague), []string{"srv-dc-01", c.host, c.hostIP},
				iocs("sha256", c.sha256, "mutex", "svc-"+c.id), fmt.Sprintf(`{"event_id":4662,"user":%q,"src":%q,"property":"DS-Replication-Get-Changes-All"}`, c.colleague, c.hostIP),
			}
		}},
	},
}

var phishing = Scenario{
	Name: "phishing", Summary: "A mail leads to a false sign-in page, and the session it catches is used from abroad.",
	steps: []step{
		{federation.Info, "mail", "Mail from a domain registered this week", []string{"T1566.002"}, "mailbox", func(c *cast) part {
			return part{
				fmt.Sprintf("%s and %d others received \"Your mailbox is almost full\" from %s.", c.user, c.count%40+2, c.lure), []string{c.user + "@corp.example.com"},
				iocs("email", "it-support@"+c.lure, "domain", c.lure), fmt.Sprintf(`{"from":"it-support@%s","spf":"softfail","dmarc":"none"}`, c.lure),
			}
		}},
		{federation.Medium, "proxy", "False sign-in page opened from a mail", []string{"T1566.002", "T1204.001"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("%s opened a copy of the sign-in page on %s.", c.user, c.host), []string{c.host, c.hostIP},
				iocs("url", "https://"+c.lure+"/signin/"+c.id, "domain", c.lure, "ip", c.relay), fmt.Sprintf(`{"client":%q,"host":%q,"method":"POST","status":302}`, c.hostIP, c.lure),
			}
		}},
		{federation.High, "idp", "Session taken over from another country", []string{"T1539", "T1078.004"}, "account", func(c *cast) part {
			return part{
				fmt.Sprintf("The session of %s moved from %s to %s within three minutes.", c.user, c.hostIP, c.attacker6), []string{c.user + "@corp.example.com"},
				iocs("ip", c.attacker6, "user_agent", "Mozilla/5.0 (X11; Linux x86_64) Session/"+c.id), fmt.Sprintf(`{"user":%q,"ip":%q,"mfa":"satisfied by token"}`, c.user, c.attacker6),
			}
		}},
		{federation.High, "mail", "Forwarding rule to an outside mailbox", []string{"T1114.003"}, "mailbox", func(c *cast) part {
			return part{
				fmt.Sprintf("A new rule of %s forwards every mail with \"invoice\" in it to %s.", c.user, "drop-"+c.id+"@"+c.domain), []string{c.user + "@corp.example.com"},
				iocs("email", "drop-"+c.id+"@"+c.domain, "ip", c.attacker6), fmt.Sprintf(`{"op":"New-InboxRule","user":%q,"forward_to":"drop-%s@%s"}`, c.user, c.id, c.domain),
			}
		}},
	},
}

var dataExfiltration = Scenario{
	Name: "data-exfiltration", Summary: "Documents are gathered, packed and carried out to a storage service, then over DNS.",
	steps: []step{
		{federation.Low, "dlp", "Unusual number of documents read", []string{"T1039"}, "server", func(c *cast) part {
			return part{
				fmt.Sprintf("%s read %d documents of %s in an hour; a usual day has forty.", c.user, c.count, c.server), []string{c.server, c.host},
				iocs("file_path", `\\`+c.server+`\projects\`+c.id), fmt.Sprintf(`{"user":%q,"reads":%d,"share":"projects"}`, c.user, c.count),
			}
		}},
		{federation.Medium, "edr", "Archive with a password made in a temporary folder", []string{"T1560.001", "T1074.001"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("An archive of %d MB with a password was made on %s.", c.count, c.host), []string{c.host},
				iocs("file_path", `C:\Windows\Temp\`+c.id+`.7z`, "sha256", c.sha256), fmt.Sprintf(`{"host":%q,"cmd":"7z a -p*** %s.7z"}`, c.host, c.id),
			}
		}},
		{federation.Critical, "ndr", "Large upload to a storage service that is not allowed", []string{"T1567.002"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("%s sent %d MB to %s (%s) in eleven minutes.", c.host, c.count, c.domain, c.attacker), []string{c.host, c.hostIP},
				iocs("domain", c.domain, "ip", c.attacker, "url", "https://"+c.domain+"/upload/"+c.id, "sha256", c.sha256),
				fmt.Sprintf(`{"src":%q,"dst":%q,"bytes_out":%d}`, c.hostIP, c.attacker, c.count<<20),
			}
		}},
		{federation.High, "dns", "Data in the names of DNS queries", []string{"T1048.003", "T1071.004"}, "workstation", func(c *cast) part {
			return part{
				fmt.Sprintf("%s asked for %d long names under %s.", c.host, c.count*3, c.lure), []string{c.host, c.hostIP},
				iocs("domain", c.lure, "ip", c.relay), fmt.Sprintf(`{"client":%q,"rrname":"%s.%s","rrtype":"TXT"}`, c.hostIP, c.md5, c.lure),
			}
		}},
	},
}

var bruteForce = Scenario{
	Name: "brute-force", Summary: "Passwords are guessed at the remote access gateway until one account gives way.",
	steps: []step{
		{federation.Low, "vpn", "Many failed sign-ins from one network", []string{"T1110.001"}, "gateway", func(c *cast) part {
			return part{
				fmt.Sprintf("%d failed sign-ins from %s in ten minutes.", c.count, c.attacker6), []string{"vpn-gw-01"},
				iocs("ip", c.attacker6), fmt.Sprintf(`{"gw":"vpn-gw-01","src":%q,"failed":%d}`, c.attacker6, c.count),
			}
		}},
		{federation.Medium, "idp", "One password tried on many accounts", []string{"T1110.003"}, "account", func(c *cast) part {
			return part{
				fmt.Sprintf("%d accounts were tried from %s and %s, each once.", c.count%300+40, c.attacker6, c.relay), []string{"vpn-gw-01"},
				iocs("ip", c.attacker6, "ip", c.relay, "user_agent", "python-requests/2.31 ("+c.id+")"), fmt.Sprintf(`{"src":%q,"pattern":"spray"}`, c.relay),
			}
		}},
		{federation.High, "idp", "Sign-in after many failures", []string{"T1110", "T1078"}, "account", func(c *cast) part {
			return part{
				fmt.Sprintf("%s signed in from %s after %d failures.", c.user, c.attacker6, c.count%90+10), []string{c.user + "@corp.example.com", "vpn-gw-01"},
				iocs("ip", c.attacker6), fmt.Sprintf(`{"user":%q,"src":%q,"result":"success"}`, c.user, c.attacker6),
			}
		}},
		{federation.Critical, "siem", "Administrator rights granted by an account signed in from abroad", []string{"T1098", "T1078.002"}, "account", func(c *cast) part {
			return part{
				fmt.Sprintf("%s put %s into the administrators' group from %s.", c.user, c.colleague, c.attacker6), []string{"srv-dc-01", c.user + "@corp.example.com"},
				iocs("ip", c.attacker6, "mutex", "adm-"+c.id), fmt.Sprintf(`{"event_id":4728,"actor":%q,"member":%q}`, c.user, c.colleague),
			}
		}},
	},
}
