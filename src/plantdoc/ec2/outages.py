"""Decide from which service fails whether to keep the instance."""

from __future__ import annotations

from plantdoc.core.errors import UserError

_S3_ROUNDS = 3  # in which S3 alone has given no answer; a round is a request with its retries, about a minute
_NETWORK_ROUNDS = 20  # in which nothing has
# fmt: off
_SIGNED_OUT = {
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidAccessKeyId", "InvalidClientTokenId",
    "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch", "RequestTimeTooSkewed",
}
# fmt: on


class Unreachable(UserError):
    """Nothing can be seen or done from here; the machine goes on."""


class Outages:
    """Counts rounds without an answer, and says when to give up."""

    def __init__(self) -> None:
        self.s3_alone = self.all = 0  # rounds in a row

    def over(self) -> None:
        self.s3_alone = self.all = 0

    def met(self, error: Exception, ec2_error: Exception | None) -> str | None:
        """A round failed with S3's `error`; `ec2_error` is what EC2 said, None where it did answer.

        Returns a line to show, at the first of several rounds.

        Raises:
            Unreachable: neither will answer: the network here is gone, or the credentials are.
            UserError: S3 alone does not answer.
        """
        if ec2_error is None:
            self.s3_alone, self.all = self.s3_alone + 1, 0
            if self.s3_alone >= _S3_ROUNDS:
                raise UserError(f"S3 has not answered {_S3_ROUNDS} times in a row, while EC2 does ({error})")
            return f"ec2: S3 gives no answer, trying again ({error})" if self.s3_alone == 1 else None
        self.s3_alone, self.all = 0, self.all + 1
        if _signed_out(error):
            raise Unreachable(f"AWS does not take these credentials any more ({error}): `aws sso login`, or new keys")
        if self.all >= _NETWORK_ROUNDS:
            raise Unreachable(f"the network here is lost, neither S3 nor EC2 answers ({error})")
        if self.all > 1:
            return None
        return f"ec2: neither S3 nor EC2 answers; the machine goes on, trying again ({error})"


def _signed_out(error: Exception) -> bool:
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return error.response["Error"]["Code"] in _SIGNED_OUT

    return isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.UnauthorizedSSOTokenError
        | exceptions.SSOTokenLoadError,
    )
