"""Grants from outside: the command line changes them while a server runs, and users notice at once."""

import json

from tests.e2e.api import answer
from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell
from tests.e2e.test_process_cli import run_failing, run_ok

PASSWORD = "a password of twelve"


def test_narrowed_access_applies_at_once_and_everywhere(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    api = server.api
    shop, blog = server.add_service(shell("exit 0"), config={"tags": ["web"]}), server.add_service(shell("exit 0"))
    service_id = api.service(shop)["id"]
    api.create_user("bob", PASSWORD)
    token = api.sign_in("bob", PASSWORD)
    bob = api.client(token)
    assert {service["name"] for service in answer(bob.get("/services/"))} == {shop, blog}
    with api.live(token) as live:
        given = json.loads(run_ok(server, "grant", "list", "--json"))
        assert [grant["permission"] for grant in given] == ["manage", "sync"]
        ids = [str(grant["id"]) for grant in given]
        preview = run_ok(server, "grant", "remove", *ids, "--preview")
        assert f"bob\t{shop}\tmanage -> nothing\n" in preview
        assert "bob\tall services\tsync -> nothing\n" in preview
        assert len(answer(bob.get("/services/"))) == 2

        run_ok(server, "grant", "remove", *ids)
        live.wait_for(lambda message: message.get("type") == "rights")
        live.wait_for(lambda message: message.get("name") == shop and message["deleted"])
        assert answer(bob.get("/services/")) == []
        assert bob.get(f"/services/{service_id}").status_code == 404
        assert bob.post("/services/sync").status_code == 403

        run_ok(server, "group", "create", "crew")
        run_ok(server, "group", "add", "crew", "bob")
        run_ok(server, "grant", "add", "view", "--group", "crew", "--tag", "web")
        live.wait_for(lambda message: message.get("name") == shop and not message["deleted"])
    assert [service["name"] for service in answer(bob.get("/services/"))] == [shop]
    refused = bob.post(f"/services/{service_id}/deployments", json={})
    assert refused.status_code == 403
    assert refused.json()["detail"] == "You need the permission to deploy this service. Ask an administrator for it."
    run_ok(server, "grant", "add", "deploy", "--user", "bob", "--service", shop)
    deployment = answer(bob.post(f"/services/{service_id}/deployments", json={}))
    assert api.wait_until_final(deployment["id"])["state"] == "success"
    assert run_ok(server, "grant", "explain", "bob").splitlines() == [
        "bob cannot sync services.",
        f"{shop}\tdeploy\tdeploy through a grant on {shop}; view through the group crew on tag web",
    ]
    assert run_ok(server, "group", "list") == "everyone\tall users\ncrew\tbob\n"
    assert "Service nowhere does not exist" in run_failing(
        server, "grant", "add", "view", "--user", "bob", "--service", "nowhere"
    )
    run_ok(server, "group", "delete", "crew")
    assert len(json.loads(run_ok(server, "grant", "list", "--json"))) == 1
