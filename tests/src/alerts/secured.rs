//! A real Prometheus and an agent that asks whoever scrapes it for a certificate and a password
//! (`--web.config.file`): it scrapes, and nobody who lacks one of them does.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, ensure};
use serde_json::json;
use testkit::{Port, agent, process};

use super::{
    SOON, Stage,
    monitoring::{Program, result},
};
use crate::talks::backends::run;

/// An authority; the agent's certificate and a client's, signed by it.
const CERTIFICATES: &str = "
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$1 -days 2 -keyout $1.key \"${@:2}\"; }
new authority -x509 -out authority.crt
echo 'subjectAltName=IP:127.0.0.1' > names
for one in agent client; do
  new $one -out $one.csr
  openssl x509 -req -in $one.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 2 -extfile names -out $one.crt
done";

/// The password is `drain`, its hash as cheap as bcrypt allows: each scrape pays for it.
const WEB: &str = r#"
tls_server_config: {cert_file: agent.crt, key_file: agent.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.crt}
basic_auth_users: {prometheus: "$2b$04$abcdefghijklmnopqrstuuO9xOlD1fTWmddcSRKYmf7b881.Dm1Gy"}
"#;

impl Stage {
    pub(super) fn secured(&mut self) -> anyhow::Result<()> {
        let out = self.out.join("secured");
        fs::create_dir_all(&out)?;
        run(process::command("bash")
            .args(["-euc", CERTIFICATES])
            .current_dir(&out))?;
        fs::write(out.join("web.yaml"), WEB)?;
        let mut command = agent::run(&self.binary);
        command.arg("--web.config.file").arg(out.join("web.yaml"));
        let agent = testkit::Agent::start_logging(command, &out.join("agent.log"), self.clock)?;

        let certificate =
            json!({"ca_file": "authority.crt", "cert_file": "client.crt", "key_file": "client.key"});
        let stranger = json!({"ca_file": "authority.crt"});
        let login = |password: &str| json!({"username": "prometheus", "password": password});
        let job = |name: &str, scheme: &str, tls: &serde_json::Value, login: Option<serde_json::Value>| {
            let mut job = json!({"job_name": name, "scheme": scheme, "tls_config": tls,
                "static_configs": [{"targets": [agent.address().to_string()]}]});
            if let Some(login) = login {
                job["basic_auth"] = login;
            }
            job
        };
        let jobs = [
            job("both", "https", &certificate, Some(login("drain"))),
            job("no certificate", "https", &stranger, Some(login("drain"))),
            job("no login", "https", &certificate, None),
            job("wrong password", "https", &certificate, Some(login("drainn"))),
            job("in clear", "http", &json!({}), Some(login("drain"))),
        ];
        // JSON is YAML.
        let configuration = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs});
        fs::write(out.join("prometheus.yml"), configuration.to_string())?;
        let prometheus = Program::start(
            "prometheus",
            &[
                "--config.file=prometheus.yml".into(),
                "--storage.tsdb.path=data".into(),
            ],
            Port::find()?,
            &out,
            self.clock,
        )?;
        prometheus.wait_ready(self.clock)?;

        let scraped = || -> anyhow::Result<BTreeMap<String, bool>> {
            let series = result(&prometheus, "query", &[("query", "up")])?;
            let up = series.iter().map(|series| {
                let job = series["metric"]["job"].as_str().context("no job")?;
                Ok((job.to_owned(), series["value"][1] == "1"))
            });
            up.collect()
        };
        self.clock
            .until("a scrape by who may, and one by each who may not", SOON, || {
                let scraped = scraped()?;
                Ok(scraped.len() == jobs.len() && scraped["both"])
            })?;
        let scraped = scraped()?;
        ensure!(
            scraped.iter().all(|(job, up)| *up == (job == "both")),
            "scraped: {scraped:?}"
        );
        Ok(())
    }
}
